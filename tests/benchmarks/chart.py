"""The README's chart, drawn from the benchmarks' JSON: two panels of bars, one bar for each row."""

import json
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from tests.benchmarks.harness import format_figure

# Report and row, what it is called in the chart, and whose it is: the bound, ours, others'.
ROWS = (
    ("job", "bound", "the bound: decode and network", "bound"),
    ("job", "job, local disk", "labelmill job, local disk", "ours"),
    ("job", "job, SeaweedFS", "labelmill job, S3 on the same cores", "ours"),
    ("job", "DataLoader", "DataLoader loop", "others"),
    ("job", "Daft", "Daft", "others"),
    ("service", "bound", "the bound, with the service's figures", "bound"),
    ("service", "HAProxy, 8 callers", "labelmill, HAProxy, 8 callers", "ours"),
    ("service", "HAProxy, 32 callers", "labelmill, HAProxy, 32 callers", "ours"),
    ("service", "default proxy, 32 callers", "labelmill, Serve's proxy, 32 callers", "ours"),
    ("service", "LitServe, 32 callers", "LitServe with our network, 32 callers", "others"),
)
_WIDTH, _LEFT, _RIGHT = 780, 276, 126
_BAR, _STEP, _HEADING = 18, 28, 46
# A ground of its own, since GitHub's theme may be another than the system's.
_STYLE = """
  .ground { fill: #ffffff; stroke: #d0d7de }
  text { font: 13px system-ui, sans-serif; fill: #1f2328 }
  .heading { font-weight: 600; font-size: 14px }
  .small { font-size: 11px; fill: #59636e }
  .bound { fill: #afb8c1 } .ours { fill: #0969da } .others { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    .ground { fill: #0d1117; stroke: #3d444d }
    text { fill: #f0f6fc }
    .small { fill: #9198a1 }
    .bound { fill: #656c76 } .ours { fill: #4493f8 } .others { fill: #db6d28 }
  }
"""


@dataclass(frozen=True, slots=True)
class _Bar:
    label: str
    kind: str
    value: float
    text: str


def draw_chart(figures_path: Path, chart_path: Path) -> None:
    """Draw what the JSON holds of `ROWS` as SVG.

    Raises:
        ValueError: it holds nothing of the job.
    """
    reports: dict[str, Any] = json.loads(figures_path.read_text())
    if "job" not in reports:
        raise ValueError(f"{figures_path} holds no figures of the job; run that benchmark as well")
    shares, costs = [], []
    for name, row, label, kind in ROWS:
        figures = reports.get(name, {}).get("medians", {}).get(row)
        if figures is None:
            continue
        rate = figures.get("images_per_s", figures.get("per_s"))
        share = figures.get("of_bound", 1.0)
        shares.append(_Bar(label, kind, share, f"{share:.0%}, {format_figure(rate)}/s"))
        costs.append(_Bar(label, kind, figures["cpu_ms"], f"{figures['cpu_ms']:.0f} ms"))
    top = 14
    parts = []
    for heading, bars in (
        ("Images per second, as a share of the bound", shares),
        ("CPU time per image, all processes together", costs),
    ):
        parts.append(_panel(heading, bars, top))
        top += _HEADING + len(bars) * _STEP
    parts.append(f'<text class="small" x="20" y="{top + 12}">{_footer(reports["job"])}</text>')
    chart_path.write_text(_frame(parts, height=top + 30))


def _panel(heading: str, bars: list[_Bar], top: int) -> str:
    scale = (_WIDTH - _LEFT - _RIGHT) / max(bar.value for bar in bars)
    lines = [f'<text class="heading" x="20" y="{top + 20}">{escape(heading)}</text>']
    for number, bar in enumerate(bars):
        y = top + _HEADING - 12 + number * _STEP
        width = max(bar.value * scale, 1)
        lines += [
            f'<text x="{_LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(bar.label)}</text>',
            f'<rect class="{bar.kind}" x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" '
            'rx="2"/>',
            f'<text x="{_LEFT + width + 8:.1f}" y="{y + 14}">{escape(bar.text)}</text>',
        ]
    return "\n".join(lines)


def _footer(report: dict[str, Any]) -> str:
    machine = report["machine"]
    text = (
        f"{machine['cores']} cores of {machine['cpu']}, {report['date'][:10]}; fp32, JPEGs of "
        f"ImageNet's sizes; medians of {report['settings']['repeats']}, start-up excluded"
    )
    return escape(text)


def _frame(parts: list[str], height: int) -> str:
    content = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="labelmill\'s benchmarks">\n'
        f"<style>{_STYLE}</style>\n"
        f'<rect class="ground" x="0.5" y="0.5" width="{_WIDTH - 1}" height="{height - 1}" rx="6"/>'
        f"\n{content}\n</svg>\n"
    )
