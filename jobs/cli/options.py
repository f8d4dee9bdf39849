"""The options that several commands share."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

Command = TypeVar("Command")

# For every command that has a model.
MODEL_OPTIONS = (
    click.option("--model-repository", metavar="DIR", help="Folder of models, local or s3://."),
    click.option(
        "--weights",
        metavar="PATH",
        help="Checkpoint (.safetensors or .pt) to use, or 'untrained' for a trial.",
    ),
    click.option("--labels", metavar="PATH", help="Class names for --weights, one per line."),
    click.option("--runtime", help="auto, torch or openvino.  [default: openvino on CPUs]"),
    click.option(
        "--input-format",
        metavar="FORMAT",
        help="objects, manifest, parquet or webdataset.  [default: as INPUT's names tell]",
    ),
    click.option("--image-column", metavar="NAME", help="Parquet column that holds the images."),
    click.option(
        "--include", metavar="GLOB", multiple=True, help="Only such names, such as '*.jpg,*.png'."
    ),
    click.option("--exclude", metavar="GLOB", multiple=True, help="Pass over such names."),
)

JOB_OPTIONS = (
    click.option(
        "--model", metavar="REF", help="Model, or model:version.  [default: inception_v3]"
    ),
    *MODEL_OPTIONS,
    click.option(
        "--precision", help="fp32, fp16 or bf16.  [default: the model's, or fp32; GPUs: fp16]"
    ),
    click.option("--top-k", type=int, help="Labels per image.  [default: 5]"),
    click.option("--emit", metavar="LIST", help="classification,embedding,features:<layer>"),
    click.option(
        "--batch-size",
        metavar="N",
        help="Images per forward pass.  [default: the model's; GPUs: 128 or more]",
    ),
    click.option(
        "--num-gpus", type=float, help="GPUs per actor, at most 1.  [default: 1 if there is one]"
    ),
    click.option(
        "--actors", metavar="MIN[:MAX]", help="Size of the actor pool.  [default: up to the cores]"
    ),
    click.option("--limit", type=int, help="Only the first N objects."),
    click.option("--max-pixels", type=int, help="Larger images are errors.  [default: 100000000]"),
    click.option("--config", type=click.Path(path_type=Path), help="Options from a YAML file."),
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")


def add_options(options: tuple[Any, ...]) -> Callable[[Command], Command]:
    """Return a decorator that adds options to a command, in their order."""

    def add(command: Command) -> Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add
