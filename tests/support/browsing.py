"""What the page's tests say to a browser and to the service beside it."""

import json
import shutil
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

# Every visible text of the page whose contrast is below WCAG AA, as `text: ratio`.
LOW_CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const luminance = (color) => {
    const [r, g, b] = channels(color).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const backdrop = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const color = getComputedStyle(each).backgroundColor;
      if ((channels(color)[3] ?? 1) === 1) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const low = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].filter((node) => node.nodeType === 3)
      .map((node) => node.data.trim()).join("");
    if (!text || !element.checkVisibility() || element.closest("template, option")) continue;
    const style = getComputedStyle(element);
    const pair = [luminance(style.color), luminance(backdrop(element))].sort((a, b) => b - a);
    const ratio = (pair[0] + 0.05) / (pair[1] + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) low.push(`${text}: ${ratio.toFixed(2)}`);
  }
  return low;
}"""

NAMED_ROLES = {"button", "combobox", "textbox", "image", "progressbar", "dialog", "region"}


def nameless(page: Any) -> list[str]:
    """Return the roles of what a screen reader would meet without being told a name."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    roles = [
        node["role"]["value"]
        for node in nodes
        if not node.get("ignored")
        and node["role"]["value"] in NAMED_ROLES
        and not node.get("name", {}).get("value")
    ]
    session.detach()
    return roles


def drop(page: Any, x: int, y: int, paths: Sequence[Path]) -> None:
    """Drag files over the page and let go: the browser's own drag, not a made-up event."""
    session = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        session.send("Input.dispatchDragEvent", {"type": kind, "x": x, "y": y, "data": data})
    session.detach()


def classify(url: str, path: Path, top_k: int = 5) -> list[tuple[str, float]]:
    """Ask the service itself; return labels and percents."""
    request = urllib.request.Request(
        f"{url}/v1/classify?top_k={top_k}",
        path.read_bytes(),
        {"Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(request, timeout=30) as response:
        return to_percents(json.load(response))


def to_percents(answer: Any) -> list[tuple[str, float]]:
    return [(each["label"], each["score"] * 100) for each in answer["predictions"][0]["labels"]]


def an_answer(label: str = "tabby", score: float = 0.5, weights: str = "ab" * 32) -> dict[str, Any]:
    """Return what the service answers, for where its own answer is not what is tested."""
    labels = [{"index": 281, "label": label, "score": score}]
    timing = {"decode_ms": 1.0, "queue_ms": 0.1, "forward_ms": 12.0, "batch_size": 3}
    prediction = {"name": None, "width": 8, "height": 8, "flags": [], "labels": labels}
    prediction |= {"label": label, "score": score, "timing": timing}
    return {
        "model": "inception_v3",
        "model_version": "1",
        "weights_sha256": weights,
        "predictions": [prediction],
    }
