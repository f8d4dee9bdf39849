"""Results, as people read them."""

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from jobs.tallies import describe as describe_tally
from jobs.tallies import say_not_images

if TYPE_CHECKING:
    from jobs.check_precision import Checked
    from jobs.verify import Verified

_UNITS = ("bytes", "KB", "MB", "GB", "TB", "PB")
_BUSY = 0.85  # of the cores; others had the rest while they were measured


def describe(record: dict[str, Any]) -> str:
    """Say in a few lines what was done, or what would be."""
    if record["state"] == "planned":
        return _aligned(12, _planned(record).items())
    if record["state"] == "estimated":
        return _aligned(11, _estimated(record))
    from jobs.dataset.schema import NOT_AN_IMAGE  # noqa: PLC0415

    counts = record["counts"]
    errors = {kind: number for kind, number in counts["errors"].items() if kind != NOT_AN_IMAGE}
    kinds = f" ({describe_tally(errors)})" if errors else ""
    parts = [
        f"{counts['ok']:,} of {counts['listed']:,} images labelled",
        f"{_count(sum(errors.values()), 'error')}{kinds}" if errors else "no errors",
    ]
    if not_images := counts.get("not_images"):
        what = say_not_images(sum(not_images.values()))
        parts.append(f"{what} ({describe_tally(not_images)})")
    parts += _left_out(counts)
    if counts["removed"]:
        parts.append(f"{counts['removed']:,} no longer in the input")
    if rate := record.get("actual", {}).get("images_per_s"):
        parts.append(f"{rate:.1f} images/s")
    return f"{', '.join(parts)}: {record['spec']['output']}"


def describe_verified(found: "Verified") -> str:
    """Say in two lines what is right."""
    counts = found.counts
    rows = f"{counts.ok:,} rows ok + {_count(counts.error, 'error')}"
    accounts = f"{_count(counts.listed, 'object')} listed = {rows}, every uri once: {found.output}"
    changed = f", {found.changed:,} have changed since or cannot be read" if found.changed else ""
    return f"{accounts}\n{found.same:,} rows labelled again are the same{changed}"


def _estimated(record: dict[str, Any]) -> list[tuple[str, str]]:
    from jobs.progress import to_duration  # noqa: PLC0415

    forecast, rows = record["plan"], record["rows"]
    measured, count, size = forecast["measured"], record["objects"], to_size(record["bytes"])
    sampled = _count(measured["sampled"], "object")
    lines = [
        ("input", f"{record['spec']['input']} ({_count(count, 'object')}, {size})"),
        ("model", f"{rows['model']}, {record['runtime']} {rows['precision']}"),
        ("measured", f"{sampled} in {measured['took_s']:.0f} s, here"),
        *((f"  {x}", _stage(x, rate, record)) for x, rate in forecast["rates"].items()),
        ("the job", f"{_rate(forecast['images_per_s'])}   bound by {forecast['bound']}"),
        ("time", f"about {to_duration(record['seconds'])}"),
    ]
    if record["price"] is not None:
        lines.append(("price", to_amount(record["price"])))
    lines.append(("options", f"--batch-size {record['batch_size']} --actors {record['actors'][1]}"))
    return lines + [("note", note) for note in _notes(record)]


def describe_check(checked: "Checked") -> str:
    """Say in a few lines how a lower precision did, and which one to use."""
    speed = "{:.1f} images/s, {:.1f} CPU-ms each"
    parameter = f'key: "precision" value {{ string_value: "{checked.recommended}" }}'
    lines = {
        "model": f"{checked.model}, {checked.weights_sha256}",
        "runtime": f"{checked.runtime} on {checked.hardware}",
        "images": f"{checked.images:,}, {checked.skipped:,} skipped",
        "top-1 kept": to_percent(checked.top1_kept),
        "top-5 overlap": to_percent(checked.top5_overlap),
        "largest score change": f"{checked.largest_change:.4f}",
        "fp32": speed.format(checked.fp32_images_per_s, checked.fp32_cpu_ms),
        checked.precision: speed.format(checked.images_per_s, checked.cpu_ms),
        "result": f"not passed: {checked.shortfall}" if checked.shortfall else "passed",
        "option": f"--precision {checked.recommended}",
        "config.pbtxt": f"parameters {{ {parameter} }}",
    }
    return _aligned(22, lines.items())


def _left_out(counts: dict[str, Any]) -> list[str]:
    """Say what the listing has left out on purpose."""
    said = []
    if duplicates := counts.get("duplicates"):
        said.append(f"{duplicates:,} listed twice")
    if passed_over := counts.get("passed_over"):
        said.append(f"{sum(passed_over.values()):,} passed over ({describe_tally(passed_over)})")
    return said


def to_percent(share: float) -> str:
    """Write a share (0..1), rounded down: what falls short of a threshold must not look like it."""
    return f"{math.floor(share * 1000 + 1e-6) / 10:.1f} %"


def to_amount(price: float) -> str:
    """Round a sum of money to cents, or to two digits where it is less than one unit."""
    if price <= 0 or price >= 1:
        return f"{price:,.2f}"
    return f"{price:.{1 - math.floor(math.log10(price))}f}"


def to_size(size: float) -> str:
    """Write a number of bytes with a unit of thousands."""
    power = min(int(math.log10(size)) // 3, len(_UNITS) - 1) if size >= 1 else 0
    return f"{size:.0f} bytes" if not power else f"{size / 1000**power:.3g} {_UNITS[power]}"


def _aligned(width: int, lines: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"{name:{width}}{value}" for name, value in lines)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rate(images_per_s: float) -> str:
    digits = 1 if images_per_s < 100 else 0
    return f"{images_per_s:>8,.{digits}f} images/s"


def _stage(stage: str, rate: float, record: dict[str, Any]) -> str:
    measured = record["plan"]["measured"]
    match stage:
        case "network":
            cost = f"{to_size(rate * measured['image_bytes'])}/s"
        case "decode":
            cost = _cores(measured["decode_cpu_s"], measured)
        case "write":
            untried = "" if record["spec"]["output"] else ", without an OUTPUT to try"
            cost = f"{to_size(measured['row_bytes'])} per row{untried}"
        case _ if record["num_gpus"]:
            cost = f"{_count(record['actors'][1], 'actor')}, {record['num_gpus']:g} GPU each"
        case _:
            sizes = measured["forward_cpu_s"]
            nearest = min(sizes, key=lambda size: abs(int(size) - record["batch_size"]))
            cost = _cores(sizes[nearest], measured)
    return f"{_rate(rate)}   {cost}"


def _cores(cpu_s: float, measured: dict[str, Any]) -> str:
    return f"{cpu_s * 1000:.3g} CPU-ms per image, {_count(measured['cores'], 'core')}"


def _notes(record: dict[str, Any]) -> list[str]:
    measured, notes = record["plan"]["measured"], []
    if errors := sum(measured["errors"].values()):
        notes.append(
            f"{errors:,} of the {measured['sampled']:,} cannot be labelled, such as "
            f"{measured['example']}"
        )
    if not record["num_gpus"] and measured["had_cores"] < _BUSY * min(
        measured["cores"], record["actors"][1]
    ):
        notes.append(
            f"other programs were busy: measuring got {measured['had_cores']:.1f} cores; the "
            "forecast is for a job that has all of them"
        )
    return notes


def _planned(record: dict[str, Any]) -> dict[str, str]:
    spec, rows = record["spec"], record["rows"]
    objects, size = _count(record["objects"], "object"), f"{record['bytes']:,} bytes"
    smallest, largest = record["actors"]
    device = f"{record['num_gpus']:g} GPU" if record["num_gpus"] else f"{record['num_cpus']:g} CPU"
    return {
        "input": f"{spec['input']} ({', '.join([objects, size, *_left_out(record)])})",
        "output": spec["output"],
        "model": f"{rows['model']}, {record['num_classes']:,} classes",
        "weights": rows["weights_sha256"],
        "runtime": f"{record['runtime']}, {rows['precision']}",
        "actors": f"{smallest} to {largest}, {device} each",
        "batch size": str(record["batch_size"]),
        **({"warning": record["warning"]} if record["warning"] else {}),
    }
