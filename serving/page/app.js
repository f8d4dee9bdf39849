// Each image is one request to v1/classify. Names and labels are untrusted text: textContent only.

const MAX_SHOWN = 200;
const MAX_PARALLEL = 4;
const TOKEN_KEY = "labelmill-token";

const items = new Set();
const queue = [];
let running = 0;
let models = [];
let token = "";
let asking = null; // the promise shared by all requests that wait for a token
let declined = 0; // when the person declined: requests sent before do not ask again

const $ = (id) => document.getElementById(id);
const isBusy = (item) => item.state === "waiting" || item.state === "sending";
const canRetry = (item) => item.state === "failed" && Boolean(item.again);
const countIf = (test) => [...items].filter(test).length;

// ---- text

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const toMs = (ms) => (Number.isFinite(ms) ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : "–");
const toPercent = (score) => (score > 0 && score < 0.001 ? "< 0.1%" : `${(score * 100).toFixed(1)}%`);
const toSize = (bytes) => (bytes < 1e6 ? `${Math.ceil(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

function toSummary() {
  const failed = countIf((item) => item.state === "failed");
  const labelled = countIf((item) => item.state === "done");
  return `${plural(items.size, "image")}, ${labelled} labelled${failed ? `, ${failed} failed` : ""}`;
}

function make(tag, text = "", className = "") {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = className;
  return element;
}

// ---- announcements: one sentence for all images that finish within half a second

let finished = [];

function say(text) {
  $("live").textContent = text;
}

function announce(item) {
  if (finished.push(item) > 1) return;
  setTimeout(() => {
    const left = countIf(isBusy);
    const [{ file, outcome }, other] = finished;
    const text = other ? `${finished.length} images finished.` : `${file.name}: ${outcome}`;
    say(`${text} ${left ? `${left} to go.` : items.size > 1 ? toSummary() : ""}`);
    finished = [];
  }, 500);
}

// ---- curl

// One word of a shell. Invisible characters are escaped, so that pasting only types.
function quote(text) {
  const hidden = /[\p{C}\p{Zl}\p{Zp}]/gu;
  const octal = (byte) => `\\${byte.toString(8).padStart(3, "0")}`;
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (text.search(hidden) < 0) return `'${text.replaceAll("'", "'\\''")}'`;
  const spelled = text.replace(/[\\']/g, "\\$&");
  return `$'${spelled.replace(hidden, (character) => [...new TextEncoder().encode(character)].map(octal).join(""))}'`;
}

function toCurl({ file, type, address }) {
  const name = file.name === "-" ? "./-" : file.name; // - is standard input
  const bearer = token && ' -H "Authorization: Bearer $TOKEN"';
  return `curl --data-binary ${quote(`@${name}`)} -H ${quote(`Content-Type: ${type}`)}${bearer} ${quote(address)}`;
}

async function copyCurl(item) {
  const { curl, copy } = item.part;
  const line = toCurl(item);
  let copied = true;
  curl.textContent = line;
  curl.hidden = false;
  try {
    await navigator.clipboard.writeText(line);
  } catch { // over plain http only the old way works
    getSelection().selectAllChildren(curl);
    copied = document.execCommand("copy");
  }
  copy.textContent = copied ? "Copied" : "Selected: copy it";
  say(`curl line ${copied ? "copied" : "selected"}.`);
  setTimeout(() => (copy.textContent = "Copy curl"), 2000);
}

// ---- the list

function showList() {
  const busy = countIf(isBusy);
  $("results").hidden = !items.size;
  document.body.classList.toggle("some", items.size > 0);
  $("summary").textContent = toSummary();
  $("progress").max = items.size || 1;
  $("progress").value = items.size - busy;
  $("progress").hidden = !busy;
  $("retry-all").hidden = countIf(canRetry) < 2;
}

function addFiles(files) {
  const added = files.slice(0, MAX_SHOWN - items.size).map(buildItem);
  const leftOut = files.length - added.length;
  const note = leftOut && `${plural(leftOut, "image")} left out: this page shows ${MAX_SHOWN} at most.`;
  $("left-out").textContent = note || "";
  $("cards").prepend(...added.map((item) => item.card));
  added.forEach((item) => items.add(item) && submit(item));
  say(note || `Labelling ${plural(added.length, "image")}.`);
}

function buildItem(file) {
  const card = $("card").content.cloneNode(true).firstElementChild;
  const part = {};
  for (const element of card.querySelectorAll("[class]")) part[element.classList[0]] = element;
  const item = { file, card, part, type: file.type || "application/octet-stream" };
  part.name.textContent = file.name;
  part.meta.textContent = toSize(file.size);
  part.remove.ariaLabel = `Remove ${file.name}`;
  part.copy.ariaLabel = `Copy curl line for ${file.name}`;
  part.retry.ariaLabel = `Retry ${file.name}`;
  part.remove.onclick = () => removeByHand(item);
  part.copy.onclick = () => copyCurl(item);
  part.retry.onclick = () => retry(item);
  showPreview(item);
  return item;
}

function showPreview({ file, part }) {
  const { image, placeholder } = part;
  image.alt = `Preview of ${file.name}`;
  image.src = URL.createObjectURL(file);
  image.onload = image.onerror = ({ type }) => {
    URL.revokeObjectURL(image.src);
    image.hidden = type === "error";
    placeholder.hidden = !image.hidden;
  };
}

function remove(item) {
  items.delete(item);
  cancel(item);
  item.card.remove();
}

function removeByHand(item) {
  const next = item.card.nextElementSibling ?? item.card.previousElementSibling;
  remove(item);
  afterRemoval(item.file.name, next?.querySelector(".remove"));
}

function removeAll() {
  items.forEach(remove);
  afterRemoval("all images");
}

function afterRemoval(what, next = $("files")) {
  showList();
  next.focus();
  say(`Removed ${what}.`);
}

// ---- requests

const toHeaders = () => (token ? { Authorization: `Bearer ${token}` } : {});
const chosenModel = () => models.find(({ name }) => name === $("model").value);

function toAddress() {
  const model = chosenModel();
  const topK = Math.min($("top-k").value, model?.classes ?? Infinity);
  const more = models.length > 1 ? `&model=${encodeURIComponent(model.name)}` : "";
  return new URL(`v1/classify?top_k=${topK}${more}`, document.baseURI).href;
}

function cancel(item) {
  item.controller?.abort();
  clearTimeout(item.timer);
  if (queue.includes(item)) queue.splice(queue.indexOf(item), 1);
}

function submit(item) {
  cancel(item);
  item.controller = new AbortController();
  item.address = toAddress();
  show(item, "waiting", item.labelled ? "" : "Waiting…");
  queue.push(item);
  pump();
}

// A busy service says when to try again; until then a retry waits.
function retry(item) {
  const waitMs = (item.notBefore ?? 0) - performance.now();
  if (waitMs <= 0) return submit(item);
  cancel(item);
  show(item, "waiting", `Waiting ${plural(Math.ceil(waitMs / 1000), "second")}, as the service asked…`);
  item.timer = setTimeout(submit, waitMs, item);
}

function pump() {
  while (running < MAX_PARALLEL && queue.length) {
    running += 1;
    send(queue.shift()).finally(() => {
      running -= 1;
      pump();
    });
  }
}

async function send(item) {
  const { signal } = item.controller;
  let outcome;
  show(item, "sending", item.labelled ? "" : "Labelling…");
  do outcome = await request(item, signal);
  while (!outcome && !signal.aborted);
  if (signal.aborted) return;
  (outcome.labels ? showLabels : showFailure)(item, outcome);
  announce(item);
}

// Returns a prediction, a failure, or null to try again with a new token.
async function request({ file, type, address }, signal) {
  const [used, start] = [token, performance.now()];
  try {
    const headers = { ...toHeaders(), "Content-Type": type };
    const response = await fetch(address, { method: "POST", body: file, headers, signal });
    const body = await response.json().catch(() => ({}));
    const totalMs = performance.now() - start;
    if (response.status === 401) {
      if (used !== token || (start > declined && (await askToken(used)))) return null;
      return NO_TOKEN;
    }
    const prediction = body.predictions?.[0];
    if (Array.isArray(prediction?.labels)) return { ...prediction, totalMs, weights: body.weights_sha256 };
    return toFailure(response, file, prediction ?? body);
  } catch {
    return toBreak(file);
  }
}

// No answer: the file is gone, the network is down, or the service dropped a large body.
async function toBreak(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return { text: "This file cannot be read: it is a folder, or it has changed. Choose it again." };
  }
  const large = file.size > 1e7 ? " Or is this image too large for it?" : "";
  return { text: `The service cannot be reached. Is the network up?${large}`, again: true };
}

const NO_TOKEN = { text: "The service needs a token.", again: "token" };
const FAILURES = {
  200: "This page does not understand the service's answer.",
  413: "This image is too large for the service.",
  415: "The service does not accept this kind of file.",
  422: "This file cannot be read as an image.",
  429: "The service is busy.",
  503: "The service is busy or not ready.",
  504: "The service took too long to answer.",
};

function toFailure({ status, headers }, file, { error }) {
  if (!file.size) return { text: "This file is empty." };
  const seconds = Number(headers.get("Retry-After")) || 0;
  const again = status === 429 || status >= 500;
  const other = status >= 500 ? "Something went wrong in the service." : "The service refused this.";
  const busy = seconds && `The service is busy and asks you to wait ${plural(seconds, "second")}.`;
  const detail = typeof error === "string" ? error : `HTTP ${status}`;
  return { text: busy || (FAILURES[status] ?? other), again, seconds, detail };
}

// ---- one card

function show(item, state, text) {
  const { card, part } = item;
  item.state = state;
  card.classList.toggle("busy", isBusy(item));
  part.state.textContent = text;
  part.state.classList.toggle("error", state === "failed");
  part.detail.textContent = "";
  if (document.activeElement === part.retry && !canRetry(item)) part.copy.focus();
  part.retry.hidden = !canRetry(item);
  showList();
}

function showLabels(item, { labels, width, height, flags, timing, totalMs, weights }) {
  const { part, file } = item;
  item.labelled = true;
  item.notBefore = 0;
  item.outcome = `${labels[0]?.label}, ${toPercent(labels[0]?.score)}.`;
  const marks = (flags ?? []).map((flag) => flag.replaceAll("_", " "));
  part.meta.textContent = [`${width} × ${height}`, toSize(file.size), ...marks].join(" · ");
  part.labels.replaceChildren(...labels.map(buildLabel));
  part.labels.ariaLabel = `Labels of ${file.name}`;
  part.cost.replaceChildren(...buildCost(timing ?? {}, totalMs));
  part.labels.hidden = part.cost.hidden = false;
  if (!part.curl.hidden) part.curl.textContent = toCurl(item);
  if (isUntrained(weights)) $("untrained").hidden = false;
  show(item, "done", "");
}

function buildLabel({ label, score }) {
  const row = make("li");
  const bar = make("span", "", "bar");
  const fill = make("i");
  fill.style.setProperty("--score", `${score * 100}%`);
  bar.append(fill);
  row.append(make("span", label, "label"), make("span", toPercent(score), "score"), bar);
  return row;
}

function buildCost(timing, totalMs) {
  const cells = {
    decode: toMs(timing.decode_ms),
    queue: toMs(timing.queue_ms),
    forward: toMs(timing.forward_ms),
    "round trip": toMs(totalMs),
    batch: timing.batch_size ?? "–",
  };
  return Object.entries(cells).map(([name, value]) => {
    const cell = make("div");
    cell.append(make("dt", name), make("dd", value));
    return cell;
  });
}

function showFailure(item, { text, again, detail, seconds = 0 }) {
  const { part } = item;
  item.again = again;
  item.labelled = false;
  item.outcome = text;
  item.notBefore = performance.now() + seconds * 1000;
  part.labels.hidden = part.cost.hidden = true;
  show(item, "failed", text);
  part.detail.textContent = detail ? `The service says: ${detail}` : "";
}

// ---- token

function keepToken(text) {
  token = text;
  showTokenButton();
  try {
    sessionStorage.setItem(TOKEN_KEY, text);
  } catch {} // the page still has it
}

function showTokenButton() {
  $("token-button").hidden = false;
  $("token-button").textContent = token ? "Forget token" : "Enter token";
}

// Resolves to whether there is a new token.
function askToken(refused) {
  const dialog = $("token-dialog");
  asking ??= new Promise((resolve) => {
    $("token").value = dialog.returnValue = "";
    $("token-error").textContent = refused ? "The service did not accept that token." : "";
    dialog.onclose = () => {
      const used = dialog.returnValue === "used";
      asking = null;
      if (!used) {
        declined = performance.now();
        queue.splice(0).forEach((item) => showFailure(item, NO_TOKEN));
      }
      resolve(used);
    };
    dialog.showModal();
  });
  return asking;
}

function useToken(event) {
  event.preventDefault();
  keepToken($("token").value.trim());
  $("token-dialog").close("used");
  loadModels();
  items.forEach((item) => canRetry(item) && item.again === "token" && submit(item));
}

// ---- models

const isUntrained = (sha256) => String(sha256).startsWith("untrained");

async function loadModels() {
  try {
    const response = await fetch("v1/models", { headers: toHeaders() });
    if (response.status === 401) return showTokenButton();
    models = (await response.json()).models ?? [];
  } catch {
    $("status").textContent = "The service cannot be reached.";
    return;
  }
  const before = $("model").value;
  $("model").replaceChildren(...models.map(({ name }) => new Option(name, name, false, name === before)));
  $("model-field").hidden = models.length < 2;
  showModel();
}

function showModel() {
  const { name, version, classes, weights_sha256: weights } = chosenModel() ?? {};
  $("status").textContent = name ? `${name}, version ${version}, ${classes} classes` : "";
  $("untrained").hidden = !isUntrained(weights);
}

// ---- events

const showDragging = (on) => document.body.classList.toggle("dragging", on);

function changeSettings() {
  showModel();
  items.forEach((item) => (item.state !== "failed" || item.again) && retry(item));
}

function takeFiles(event, files) {
  if (!files?.length) return;
  event.preventDefault();
  addFiles([...files]);
}

$("files").onchange = (event) => {
  takeFiles(event, event.target.files);
  event.target.value = ""; // so that the same file can be chosen again
};
$("top-k").onchange = $("model").onchange = changeSettings;
$("clear").onclick = removeAll;
$("retry-all").onclick = () => items.forEach((item) => canRetry(item) && retry(item));
$("token-button").onclick = () => (token ? keepToken("") : askToken());
$("token-cancel").onclick = () => $("token-dialog").close("");
$("token-form").onsubmit = useToken;
addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault(); // or a drop would open the file instead of this page
  showDragging(true);
});
addEventListener("dragleave", (event) => event.relatedTarget || showDragging(false));
addEventListener("drop", (event) => {
  showDragging(false);
  takeFiles(event, event.dataTransfer.files);
});
addEventListener("paste", (event) => takeFiles(event, event.clipboardData?.files));

try {
  token = sessionStorage.getItem(TOKEN_KEY) ?? "";
} catch {} // storage is disabled
if (token) showTokenButton();
loadModels();
