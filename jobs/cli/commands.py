"""The command line. A command parses, calls one function and prints what came of it.

What takes seconds to import (torch, Ray) is imported by the command that needs it.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from jobs.cli.exits import EXIT_NOT_PASSED, EXIT_OVER_ERROR_RATE, fail
from jobs.cli.text import describe_check, describe_estimate
from jobs.errors import JobError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="labelmill")
def cli() -> None:
    """Label millions of images with Inception V3: one prediction row per object, as Parquet."""


def _job_options(command: Any) -> Any:
    """Add what decides a job, for every command that has one."""
    for option in reversed(_JOB_OPTIONS):
        command = option(command)
    return command


_JOB_OPTIONS = (
    click.option(
        "--model", metavar="REF", help="Model, or model:version.  [default: inception_v3]"
    ),
    click.option("--model-repository", metavar="DIR", help="Folder of models, local or s3://."),
    click.option(
        "--weights",
        metavar="PATH",
        help="Checkpoint (.safetensors or .pt) to use, or 'untrained' for a trial.",
    ),
    click.option("--labels", metavar="PATH", help="Class names for --weights, one per line."),
    click.option("--runtime", help="auto, torch or openvino.  [default: openvino on CPUs]"),
    click.option(
        "--precision", help="fp32, fp16 or bf16.  [default: the model's, or fp32; GPUs: fp16]"
    ),
    click.option("--top-k", type=int, help="Labels per image.  [default: 5]"),
    click.option("--emit", metavar="LIST", help="classification,embedding,features:<layer>"),
    click.option("--image-column", metavar="NAME", help="Parquet column that holds the images."),
    click.option(
        "--batch-size",
        metavar="N",
        help="Images of a forward pass.  [default: the model's; GPUs: 128 or more]",
    ),
    click.option(
        "--num-gpus", type=float, help="GPU per actor, at most 1.  [default: 1 where there are any]"
    ),
    click.option(
        "--actors", metavar="MIN[:MAX]", help="Size of the actor pool.  [default: up to the cores]"
    ),
    click.option("--limit", type=int, help="The first N objects only."),
    click.option("--max-pixels", type=int, help="Larger images are errors.  [default: 100000000]"),
    click.option("--config", type=click.Path(path_type=Path), help="Options from a YAML file."),
)


@cli.command()
@click.argument("input", metavar="INPUT", required=False)
@click.argument("output", metavar="OUTPUT", required=False)
@_job_options
@click.option("--max-error-rate", type=float, help="More errors mean exit 3.  [default: 0.01]")
@click.option("--overwrite", is_flag=True, help="Delete an earlier job's rows and start over.")
@click.option("--retry-errors", is_flag=True, help="Label again what has an error row.")
@click.option("--dry-run", is_flag=True, help="Check everything and say what would be done.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
@click.option("-v", "--verbose", is_flag=True, help="Show what Ray and its workers write.")
def label(config: Path | None, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Label every object of INPUT and write one row for each to OUTPUT.

    INPUT is a folder, a glob, a manifest with a uri column (.csv, .jsonl, .parquet), Parquet with
    an image column, or .tar shards; local or s3://. OUTPUT is a folder or an s3:// prefix. The same
    command continues a job that was interrupted, and labels what has come or changed since.

    Exit codes: 0 done, 1 failed, 2 wrong option or input, 3 done but over the error rate,
    130 interrupted.
    """
    from jobs.job.spec import load_job_spec  # noqa: PLC0415
    from jobs.run import Manner  # noqa: PLC0415
    from jobs.run import dry_run as run_dry  # noqa: PLC0415
    from jobs.run import label as run_label  # noqa: PLC0415

    manner = Manner(**{name: options.pop(name) for name in Manner.__slots__})
    spec = load_job_spec(options, config)
    result = (run_dry if dry_run else run_label)(spec, manner)
    click.echo(json.dumps(result.record) if as_json else describe(result.record))
    if not result.over_error_rate:
        return 0
    reason = f"more broken images than --max-error-rate {spec.max_error_rate} allows"
    if not result.record["counts"]["ok"]:
        reason = "no image could be labelled"
    click.echo(f"labelmill: {reason}", err=True)
    return EXIT_OVER_ERROR_RATE


@cli.command()
@click.argument("input", metavar="INPUT", required=False)
@click.argument("output", metavar="[OUTPUT]", required=False)
@_job_options
@click.option(
    "--price-per-hour",
    type=click.FloatRange(0, min_open=True),
    help="Of this machine, in any currency.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def plan(config: Path | None, price_per_hour: float | None, as_json: bool, **options: Any) -> int:
    """Say how fast INPUT would be labelled on this machine, and what bounds it.

    Lists the input, then fetches, decodes and labels a sample of it here. Writing is tried only if
    OUTPUT is given, and leaves nothing behind. The last line has the best --batch-size and
    --actors, ready to be copied to `labelmill label`.
    """
    from jobs.job.spec import load_job_spec  # noqa: PLC0415
    from jobs.planning.estimate import estimate  # noqa: PLC0415

    spec = load_job_spec(options, config, usage="plan INPUT [OUTPUT]")
    record = estimate(spec, price_per_hour)
    click.echo(json.dumps(record) if as_json else describe(record))
    return 0


@cli.command()
@click.argument("output", metavar="OUTPUT")
@click.option(
    "--sample", type=click.IntRange(0), default=20, show_default=True, help="Rows to label again."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def verify(output: str, sample: int, as_json: bool) -> int:
    """Check that OUTPUT has one row for each object that was listed, and that the rows are right.

    Reads every row's uri, and labels a random sample of the objects again. Writes nothing.

    Exit codes: 0 all is right, 1 it is not, 2 OUTPUT is no dataset of labelmill's.
    """
    from jobs.verify import verify as run_verify  # noqa: PLC0415

    found = run_verify(output, sample=sample)
    click.echo(json.dumps({"state": "verified", **asdict(found)}) if as_json else found.describe())
    return 0


@cli.group()
def models() -> None:
    """Look at models."""


@models.command()
@click.argument("model", metavar="MODEL", default="inception_v3")
@click.option(
    "--precision", type=click.Choice(["bf16", "fp16"]), help="[default: bf16 on CPUs, fp16 on GPUs]"
)
@click.option("--images", "input", metavar="INPUT", required=True, help="As label's INPUT.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Images.")
@click.option("--image-column", metavar="NAME", help="Parquet column that holds the images.")
@click.option("--model-repository", metavar="DIR", help="Folder of models, local or s3://.")
@click.option("--weights", metavar="PATH", help="Checkpoint (.safetensors or .pt) to use.")
@click.option("--labels", metavar="PATH", help="Class names for --weights, one per line.")
@click.option("--runtime", help="auto, torch or openvino.  [default: openvino on CPUs]")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
def check(limit: int, as_json: bool, **options: Any) -> int:
    """Compare a lower precision of MODEL (name or name:version) with fp32 on your own images.

    Draws the images from all over INPUT, and prints the --precision to use, as an option of
    `labelmill label` and as a line of the model's config.pbtxt. Writes nothing.

    Exit codes: 0 passed, 1 failed, 2 wrong option or input, 3 not passed: fewer than 99.5 % of the
    images keep their label, or there are fewer than 200 images.
    """
    from jobs.check_precision import check_precision  # noqa: PLC0415
    from jobs.job.spec import load_job_spec  # noqa: PLC0415

    spec = load_job_spec(options, usage="models check MODEL")
    checked = check_precision(spec, limit=limit)
    click.echo(json.dumps(checked.to_json()) if as_json else describe_check(checked))
    return 0 if checked.passed else EXIT_NOT_PASSED


@cli.command()
def demo() -> int:
    """Label sample photos in an S3 server of its own; nothing to configure."""
    from jobs.demo.run import run_demo  # noqa: PLC0415
    from jobs.job.model import weights_available  # noqa: PLC0415

    return run_demo(output=Path("demo-output"), pretrained=weights_available)


def run() -> None:
    """Run the command line and exit with DESIGN's exit codes.

    Raises:
        KeyboardInterrupt: it was interrupted.
    """
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as exc:
        fail(exc.format_message(), exc.exit_code)
    except JobError as exc:
        fail(str(exc), exc.exit_code)
    except OSError as exc:  # a full disk, say
        fail(str(exc), JobError.exit_code)
    except click.Abort:
        raise KeyboardInterrupt from None


def describe(record: dict[str, Any]) -> str:
    """Say in a few lines what was done, or what would be."""
    if record["state"] == "planned":
        return "\n".join(f"{name:12}{value}" for name, value in _planned(record).items())
    if record["state"] == "estimated":
        return describe_estimate(record)
    counts = record["counts"]
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in counts["errors"].items())
    plural = "" if counts["error"] == 1 else "s"
    errors = f", {counts['error']:,} error{plural} ({kinds})" if kinds else ", no errors"
    of_listed = f"{counts['ok']:,} of {counts['listed']:,} images labelled"
    removed = f", {counts['removed']:,} no longer in the input" if counts["removed"] else ""
    return f"{of_listed}{errors}{removed}{_pace(record)}: {record['spec']['output']}"


def _pace(record: dict[str, Any]) -> str:
    actual = record.get("actual", {}).get("images_per_s")
    return f", {actual:.1f} images/s" if actual else ""


def _planned(record: dict[str, Any]) -> dict[str, str]:
    spec, rows = record["spec"], record["rows"]
    smallest, largest = record["actors"]
    device = f"{record['num_gpus']:g} GPU" if record["num_gpus"] else f"{record['num_cpus']:g} CPU"
    return {
        "input": f"{spec['input']} ({record['objects']:,} objects, {record['bytes']:,} bytes)",
        "output": spec["output"],
        "model": f"{rows['model']}, {record['num_classes']:,} classes",
        "weights": rows["weights_sha256"],
        "runtime": f"{record['runtime']}, {rows['precision']}",
        "actors": f"{smallest} to {largest}, {device} each",
        "batch size": str(record["batch_size"]),
    }
