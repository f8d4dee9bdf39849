"""The command line. A command parses, calls one function and prints the result.

What takes seconds to import (torch, Ray) is imported by the command that needs it.
"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from jobs.cli.exits import EXIT_NOT_PASSED, EXIT_OVER_ERROR_RATE, fail
from jobs.cli.options import JOB_OPTIONS, MODEL_OPTIONS, add_options, as_json
from jobs.cli.text import describe, describe_check, describe_verified
from jobs.errors import JobError


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="labelmill")
def cli() -> None:
    """Label millions of images with Inception V3: one prediction row per object, as Parquet."""


@cli.command()
@click.argument("input", metavar="INPUT", required=False)
@click.argument("output", metavar="OUTPUT", required=False)
@add_options(JOB_OPTIONS)
@click.option("--max-error-rate", type=float, help="Above it, exit with 3.  [default: 0.01]")
@click.option("--overwrite", is_flag=True, help="Delete an earlier job's rows and start over.")
@click.option("--retry-errors", is_flag=True, help="Label again what has an error row.")
@click.option("--dry-run", is_flag=True, help="Check everything, and say what would be done.")
@as_json
@click.option("-v", "--verbose", is_flag=True, help="Show what Ray and its workers write.")
def label(config: Path | None, dry_run: bool, as_json: bool, **options: Any) -> int:
    """Label every object of INPUT and write one row for each to OUTPUT.

    INPUT is a folder, a glob, a manifest with a uri column (.csv, .jsonl, .parquet), Parquet with
    an image column, .tar shards or an S3 Inventory; local or s3://. OUTPUT is a folder or an s3://
    prefix. The same command continues a job that was interrupted, and labels what has come or
    changed since.

    Exit codes: 0 done, 1 failed, 2 wrong option or input, 3 done but over the error rate,
    130 interrupted.
    """
    from jobs import run  # noqa: PLC0415
    from jobs.job.spec import load_job_spec  # noqa: PLC0415
    from jobs.labelling.summary import is_over  # noqa: PLC0415

    how = {name: options.pop(name) for name in ("overwrite", "retry_errors", "verbose")}
    spec = load_job_spec(options, config)
    record = (run.dry_run if dry_run else run.label)(spec, **how)
    click.echo(json.dumps(record) if as_json else describe(record))
    if dry_run or not is_over(record["counts"], spec.max_error_rate):
        return 0
    reason = f"more broken images than --max-error-rate {spec.max_error_rate} allows"
    if not record["counts"]["ok"]:
        reason = "no image could be labelled"
    click.echo(f"labelmill: {reason}", err=True)
    return EXIT_OVER_ERROR_RATE


@cli.command()
@click.argument("input", metavar="INPUT", required=False)
@click.argument("output", metavar="[OUTPUT]", required=False)
@add_options(JOB_OPTIONS)
@click.option(
    "--price-per-hour",
    type=click.FloatRange(0, min_open=True),
    help="Of this machine, in any currency.",
)
@as_json
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
@as_json
def verify(output: str, sample: int, as_json: bool) -> int:
    """Check that OUTPUT has one row for each object that was listed, and that the rows are right.

    Reads every row's uri, and labels a random sample of the objects again. Writes nothing.

    Exit codes: 0 all is right, 1 it is not, 2 OUTPUT is not a labelmill dataset.
    """
    from jobs.verify import verify as run_verify  # noqa: PLC0415

    found = run_verify(output, sample=sample)
    record = {"state": "verified", **asdict(found)}
    click.echo(json.dumps(record) if as_json else describe_verified(found))
    return 0


@cli.group()
def models() -> None:
    """Look at models."""


@models.command()
@click.argument("model", metavar="MODEL", default="inception_v3")
@click.option(
    "--precision", type=click.Choice(["bf16", "fp16"]), help="[default: bf16 on CPUs, fp16 on GPUs]"
)
@click.option("--images", "input", metavar="INPUT", required=True, help="Like label's INPUT.")
@click.option("--limit", type=click.IntRange(1), default=1000, show_default=True, help="Images.")
@add_options(MODEL_OPTIONS)
@as_json
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
    """Label sample photos on a local S3 server; nothing to configure."""
    from jobs.demo.run import run_demo  # noqa: PLC0415
    from jobs.job.model import weights_available  # noqa: PLC0415

    return run_demo(output=Path("demo-output"), pretrained=weights_available)


def run() -> None:
    """Run the command line and exit with DESIGN's exit codes.

    Raises:
        KeyboardInterrupt: somebody interrupted it.
    """
    try:
        sys.exit(cli.main(standalone_mode=False))
    except click.ClickException as exc:
        fail(exc.format_message(), exc.exit_code)
    except (JobError, OSError) as exc:  # a full disk, say
        fail(str(exc), getattr(exc, "exit_code", JobError.exit_code))
    except click.Abort:
        raise KeyboardInterrupt from None
