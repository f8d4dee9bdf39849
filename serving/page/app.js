// The page at `/`: each image is one request to v1/classify, a few at a time.
// Names and labels are strangers' text: they reach the page by textContent only.

const MAX_SHOWN = 200;
const MAX_PARALLEL = 4;
const TOKEN_KEY = "labelmill-token";
const $ = (id) => document.getElementById(id);

const items = new Set();
const queue = [];
let running = 0;
let models = [];
let token = readToken();
let tokenAnswer = null; // the promise that all who wait for the dialog share

// ---- text

const plural = (count, word) => `${count} ${word}${count === 1 ? "" : "s"}`;
const toMs = (ms) => (Number.isFinite(ms) ? `${ms.toFixed(ms < 10 ? 1 : 0)} ms` : "–");
const isUntrained = (sha256) => String(sha256).startsWith("untrained");

function toPercent(score) {
  const percent = score * 100;
  return percent > 0 && percent < 0.1 ? "< 0.1%" : `${percent.toFixed(1)}%`;
}

function toSize(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  return bytes < 1e6 ? `${Math.round(bytes / 1e3)} kB` : `${(bytes / 1e6).toFixed(1)} MB`;
}

const FLAGS = {
  exif_rotated: "turned upright",
  alpha: "transparent, put on white",
  cmyk: "CMYK",
  sixteen_bit: "16 bits, upper 8 used",
  animated: "first frame used",
  blank: "practically one colour",
  tiny: "very small",
  extreme_aspect: "very long, centre used",
};

// ---- curl

// One word of a shell. Control and invisible characters are spelled out, so that pasting the line
// into a terminal does nothing but type it.
function quote(text) {
  if (/^[\w@%+=:,./-]+$/.test(text)) return text;
  if (!/[\p{C}\p{Zl}\p{Zp}]/u.test(text)) return `'${text.replaceAll("'", "'\\''")}'`;
  const spelled = text.replace(/[\\']/g, "\\$&").replace(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) =>
    [...new TextEncoder().encode(character)]
      .map((byte) => `\\${byte.toString(8).padStart(3, "0")}`)
      .join(""),
  );
  return `$'${spelled}'`;
}

function toCurl(item) {
  const name = item.file.name === "-" ? "./-" : item.file.name; // a lone - is standard input
  const bearer = token ? ' -H "Authorization: Bearer $TOKEN"' : "";
  const type = quote(`Content-Type: ${item.type}`);
  return `curl --data-binary ${quote(`@${name}`)} -H ${type}${bearer} ${quote(item.address)}`;
}

// Outside https and localhost there is no clipboard API, only the old command.
async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement("textarea");
    const focused = document.activeElement;
    area.value = text;
    area.className = "unseen";
    document.body.append(area);
    area.select();
    const copied = document.execCommand("copy");
    area.remove();
    focused?.focus();
    return copied;
  }
}

async function copyCurl(item) {
  const line = toCurl(item);
  item.part.curl.textContent = line;
  item.part.curl.hidden = false;
  if (await copy(line)) {
    item.part.copy.textContent = "Copied";
    say("Copied the curl line.");
    setTimeout(() => (item.part.copy.textContent = "Copy curl"), 2000);
  } else {
    getSelection().selectAllChildren(item.part.curl);
    item.part.curl.focus();
    say("The browser does not let this page copy. The line is selected.");
  }
}

// ---- announcements: one sentence for all that finished in half a second

let finished = [];
let announcing = 0;

function say(text) {
  $("live").textContent = text;
}

function announce(item) {
  finished.push(item);
  announcing ||= setTimeout(() => {
    const left = [...items].filter(isBusy).length;
    const [first] = finished;
    const text =
      finished.length === 1
        ? `${first.file.name}: ${first.outcome}`
        : `${plural(finished.length, "image")} finished.`;
    say(left ? `${text} ${left} to go.` : finished.length > 1 ? `${text} ${toSummary()}.` : text);
    finished = [];
    announcing = 0;
  }, 500);
}

// ---- the list

const isBusy = (item) => item.state === "waiting" || item.state === "sending";

function toSummary() {
  const all = [...items];
  const failed = all.filter((item) => item.state === "failed").length;
  const labelled = all.filter((item) => item.state === "done").length;
  return `${plural(all.length, "image")}, ${labelled} labelled${failed ? `, ${failed} failed` : ""}`;
}

function showList() {
  const busy = [...items].filter(isBusy).length;
  $("results").hidden = items.size === 0;
  document.body.classList.toggle("some", items.size > 0);
  $("summary").textContent = toSummary();
  $("progress").max = items.size || 1;
  $("progress").value = items.size - busy;
  $("progress").hidden = busy === 0;
  $("retry-all").hidden = [...items].filter((item) => item.state === "failed" && item.again).length < 2;
}

function addFiles(files) {
  const taken = [...files].slice(0, Math.max(0, MAX_SHOWN - items.size));
  const leftOut = files.length - taken.length;
  $("left-out").textContent = `${plural(leftOut, "image")} left out: this page shows ${MAX_SHOWN} at most. Remove some, or label many at once with a labelmill job.`;
  $("left-out").hidden = leftOut === 0;
  const added = taken.map(buildItem);
  $("cards").prepend(...added.map((item) => item.card));
  added.forEach((item) => {
    items.add(item);
    submit(item);
  });
  if (leftOut) say($("left-out").textContent);
  else if (added.length > 1) say(`Labelling ${plural(added.length, "image")}.`);
}

function buildItem(file) {
  const card = $("card").content.cloneNode(true).firstElementChild;
  const part = { image: card.querySelector("img"), name: card.querySelector("h3") };
  for (const name of ["remove", "retry", "copy", "curl", "meta", "state", "detail", "labels", "cost", "placeholder"])
    part[name] = card.querySelector(`.${name}`);
  const item = { file, card, part, state: "waiting", type: file.type || "application/octet-stream" };
  part.name.textContent = file.name;
  part.meta.textContent = toSize(file.size);
  part.remove.setAttribute("aria-label", `Remove ${file.name}`);
  part.copy.setAttribute("aria-label", `Copy curl line for ${file.name}`);
  part.retry.setAttribute("aria-label", `Retry ${file.name}`);
  part.remove.onclick = () => removeByHand(item);
  part.copy.onclick = () => copyCurl(item);
  part.retry.onclick = () => retry(item);
  showPreview(item);
  return item;
}

function showPreview({ file, part }) {
  const { image } = part;
  const url = URL.createObjectURL(file);
  image.alt = `Preview of ${file.name}`;
  image.onload = () => URL.revokeObjectURL(url);
  image.onerror = () => {
    URL.revokeObjectURL(url);
    image.hidden = true;
    part.placeholder.textContent = "no preview in this browser";
    part.placeholder.hidden = false;
  };
  image.src = url;
}

function remove(item) {
  items.delete(item);
  cancel(item);
  item.card.remove();
}

function removeByHand(item) {
  const next = item.card.nextElementSibling ?? item.card.previousElementSibling;
  remove(item);
  showList();
  (next?.querySelector(".remove") ?? $("files")).focus();
  say(`Removed ${item.file.name}.`);
}

function clear() {
  [...items].forEach(remove);
  $("left-out").hidden = true;
  showList();
  $("files").focus();
  say("Removed all images.");
}

// ---- requests

const toUrl = (path) => new URL(path, document.baseURI).href;
const toHeaders = () => (token ? { Authorization: `Bearer ${token}` } : {});

function toAddress() {
  const model = models.find((each) => each.name === $("model").value);
  const topK = Math.min($("top-k").value, model?.classes ?? Infinity);
  const more = models.length > 1 ? `&model=${encodeURIComponent(model.name)}` : "";
  return toUrl(`v1/classify?top_k=${topK}${more}`);
}

function cancel(item) {
  item.controller?.abort();
  clearTimeout(item.timer);
  const place = queue.indexOf(item);
  if (place >= 0) queue.splice(place, 1);
}

function submit(item) {
  cancel(item);
  item.controller = new AbortController();
  item.address = toAddress();
  show(item, "waiting", item.result ? "" : "Waiting …");
  queue.push(item);
  pump();
}

// A service that is busy says when to come back: a retry before that waits.
function retry(item) {
  const wait = (item.notBefore ?? 0) - performance.now();
  if (item.again === "token") forgetToken();
  if (wait <= 0) return submit(item);
  cancel(item);
  show(item, "waiting", `Waiting ${Math.ceil(wait / 1000)} s, as the service asked …`);
  item.timer = setTimeout(submit, wait, item);
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
  show(item, "sending", item.result ? "" : "Labelling …");
  let outcome;
  do outcome = await request(item, signal);
  while (outcome === "again" && !signal.aborted);
  if (signal.aborted) return;
  if (outcome.labels) showLabels(item, outcome);
  else showFailure(item, outcome);
  announce(item);
}

async function request(item, signal) {
  const { file, type, address } = item;
  const used = token;
  const start = performance.now();
  try {
    const headers = { ...toHeaders(), "Content-Type": type };
    const response = await fetch(address, { method: "POST", body: file, headers, signal });
    const body = await response.json().catch(() => ({}));
    const totalMs = performance.now() - start;
    if (response.status === 401) {
      if (used !== token || (await askToken(Boolean(used)))) return "again";
      return { text: "The service wants a token.", again: "token" };
    }
    const prediction = body.predictions?.[0];
    if (!response.ok || prediction?.error) return toFailure(response, file, prediction ?? body);
    if (!Array.isArray(prediction?.labels)) return { text: "The answer makes no sense to this page.", again: true };
    return { ...prediction, totalMs, untrained: isUntrained(body.weights_sha256) };
  } catch {
    return signal.aborted ? {} : toBreak(file);
  }
}

// No answer at all: the file may have gone, the network may be down, or the service may have hung
// up on a body that it finds too large.
async function toBreak(file) {
  try {
    await file.slice(0, 1).arrayBuffer();
  } catch {
    return { text: "This file can't be read: it is a folder, or was changed or moved. Choose it again." };
  }
  if (file.size > 1e7)
    return { text: "The connection broke off. The image may be larger than the service takes, or the network is down.", again: true };
  return { text: "The service can't be reached. Is the network up?", again: true };
}

function toFailure(response, file, { error }) {
  const { status } = response;
  const detail = typeof error === "string" ? error : `HTTP ${status}`;
  const seconds = toSeconds(response.headers.get("Retry-After"));
  const failure = (text, again) => ({ text, again, detail, seconds });
  if (file.size === 0) return { text: "This file is empty." };
  if (status === 413) return failure("This image is too large for the service.");
  if (status === 415) return failure("The service does not take this kind of file.");
  if (status === 422 || status === 200) return failure("This file can't be read as an image.");
  if (status === 503 && seconds)
    return failure(`The service is busy. It asks to wait ${plural(seconds, "second")}.`, true);
  if (status === 503 || status === 429) return failure("The service is busy or still starting.", true);
  if (status === 504) return failure("The answer took too long.", true);
  if (status >= 500) return failure("Something went wrong in the service.", true);
  return failure("The service refused the request.", status === 404 || status === 408);
}

function toSeconds(retryAfter) {
  const seconds = /^\d+$/.test(retryAfter) ? Number(retryAfter) : (Date.parse(retryAfter) - Date.now()) / 1000;
  return seconds > 0 ? Math.ceil(seconds) : 0;
}

// ---- one card

function show(item, state, text) {
  item.state = state;
  item.card.classList.toggle("busy", isBusy(item));
  const { part } = item;
  part.state.textContent = text;
  part.state.classList.toggle("error", state === "failed");
  part.detail.hidden = true;
  part.retry.hidden = !(state === "failed" && item.again);
  if (isBusy(item) && document.activeElement === part.retry) part.copy.focus();
  showList();
}

function showLabels(item, answer) {
  const { part, file } = item;
  item.result = answer;
  item.outcome = answer.labels.length ? `${answer.labels[0].label}, ${toPercent(answer.labels[0].score)}` : "no labels";
  show(item, "done", "");
  if (answer.untrained) showUntrained(true);
  const flags = (answer.flags ?? []).map((flag) => FLAGS[flag] ?? flag);
  const untrained = answer.untrained ? ["untrained: labels mean nothing"] : [];
  part.meta.textContent = [`${answer.width} × ${answer.height}`, toSize(file.size), ...flags, ...untrained].join(" · ");
  part.labels.replaceChildren(...answer.labels.map(buildLabel));
  part.labels.hidden = false;
  part.labels.setAttribute("aria-label", `Labels of ${file.name}`);
  showCost(part.cost, answer.timing ?? {}, answer.totalMs);
  if (!part.curl.hidden) part.curl.textContent = toCurl(item);
}

function buildLabel({ label, score }) {
  const row = document.createElement("li");
  const [name, percent, bar, fill] = ["span", "span", "span", "i"].map((tag) => document.createElement(tag));
  name.className = "label";
  name.textContent = label;
  percent.className = "score";
  percent.textContent = toPercent(score);
  bar.className = "bar";
  bar.ariaHidden = "true";
  fill.style.setProperty("--score", `${score * 100}%`);
  bar.append(fill);
  row.append(name, percent, bar);
  return row;
}

function showCost(list, timing, totalMs) {
  const cells = {
    decode: toMs(timing.decode_ms),
    queue: toMs(timing.queue_ms),
    forward: toMs(timing.forward_ms),
    "round trip": toMs(totalMs),
    "batch of": timing.batch_size ?? "–",
  };
  list.replaceChildren(
    ...Object.entries(cells).map(([name, value]) => {
      const [cell, term, figure] = ["div", "dt", "dd"].map((tag) => document.createElement(tag));
      term.textContent = name;
      figure.textContent = value;
      cell.append(term, figure);
      return cell;
    }),
  );
  list.hidden = false;
}

function showFailure(item, { text, again, detail, seconds }) {
  const { part } = item;
  item.again = again;
  item.result = null;
  item.outcome = text;
  item.notBefore = performance.now() + (seconds ?? 0) * 1000;
  show(item, "failed", text);
  part.labels.hidden = part.cost.hidden = true;
  part.meta.textContent = toSize(item.file.size);
  part.detail.textContent = detail ? `The service says: ${detail}` : "";
  part.detail.hidden = !detail;
}

// ---- token

function readToken() {
  try {
    return sessionStorage.getItem(TOKEN_KEY) ?? "";
  } catch {
    return ""; // storage is switched off: memory only
  }
}

function keepToken(text) {
  token = text;
  try {
    if (text) sessionStorage.setItem(TOKEN_KEY, text);
    else sessionStorage.removeItem(TOKEN_KEY);
  } catch {
    // memory only
  }
  $("token-button").hidden = false;
  $("token-button").textContent = text ? "Forget token" : "Enter token";
}

const forgetToken = () => keepToken("");

// Resolves to whether there is a new token; everyone who asks meanwhile shares the one dialog.
function askToken(refused) {
  tokenAnswer ??= new Promise((resolve) => {
    const dialog = $("token-dialog");
    $("token").value = "";
    $("token-error").textContent = refused ? "The service did not accept that token." : "";
    dialog.returnValue = "";
    dialog.onclose = () => {
      tokenAnswer = null;
      resolve(dialog.returnValue === "use");
    };
    dialog.showModal();
  });
  return tokenAnswer;
}

function useToken(event) {
  event.preventDefault();
  const text = $("token").value.trim().replace(/^Bearer\s+/i, "");
  if (!/^[\x21-\x7e]+$/.test(text)) {
    $("token-error").textContent = "A token has only letters, digits and signs, no spaces.";
    return;
  }
  keepToken(text);
  $("token-dialog").close("use");
  loadModels();
}

// ---- models

async function loadModels() {
  try {
    const response = await fetch(toUrl("v1/models"), { headers: toHeaders() });
    if (response.status === 401) {
      $("token-button").hidden = false;
      $("status").textContent = "";
      return;
    }
    ({ models } = await response.json());
  } catch {
    $("status").textContent = "The service can't be reached";
    return;
  }
  const chosen = $("model").value;
  $("model").replaceChildren(...models.map(({ name }) => new Option(name, name, false, name === chosen)));
  $("model-field").hidden = models.length < 2;
  showModel();
}

function showModel() {
  const model = models.find((each) => each.name === $("model").value);
  if (!model) return;
  $("status").textContent = `${model.name}, version ${model.version}, ${plural(model.classes, "class").replace("classs", "classes")}`;
  showUntrained(isUntrained(model.weights_sha256));
}

function showUntrained(untrained) {
  $("untrained").hidden = !untrained;
  $("untrained").textContent =
    "The labels mean nothing: this service runs an untrained network, for trying it out. Give it weights to get real labels.";
}

// ---- the person

function onSettings() {
  showModel();
  items.forEach(submit);
}

const hasFiles = (transfer) => transfer?.types.includes("Files");
const dragging = (on) => document.body.classList.toggle("dragging", on);

$("files").onchange = ({ target }) => {
  addFiles([...target.files]);
  target.value = ""; // so that the same file can be chosen again
};
$("top-k").onchange = $("model").onchange = onSettings;
$("clear").onclick = clear;
$("retry-all").onclick = () => [...items].filter((item) => item.state === "failed" && item.again).forEach(retry);
$("token-button").onclick = () => (token ? forgetToken() : askToken(false));
$("token-cancel").onclick = () => $("token-dialog").close("");
$("token-dialog").querySelector("form").onsubmit = useToken;
addEventListener("dragover", (event) => {
  if (!hasFiles(event.dataTransfer)) return;
  event.preventDefault();
  dragging(true);
});
addEventListener("dragleave", (event) => event.relatedTarget ?? dragging(false));
addEventListener("drop", (event) => {
  if (!hasFiles(event.dataTransfer)) return;
  event.preventDefault();
  dragging(false);
  addFiles([...event.dataTransfer.files]);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  addFiles(files);
});

if (token) keepToken(token);
loadModels();
