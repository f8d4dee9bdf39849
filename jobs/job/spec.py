"""What a job is asked to do: the options of `labelmill label`, as data."""

from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeFloat,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from jobs.errors import SpecError
from jobs.inputs.globs import translate_glob
from jobs.inputs.kinds import InputFormat
from jobs.inputs.names import Names
from model_repo.inception_v3.errors import describe_problem
from model_repo.inception_v3.options import RuntimeName
from model_repo.inception_v3.spec import FEATURE_SHAPES, Precision

# The options that decide what the rows say. An output continues only under the same ones.
ROW_OPTIONS = (
    *("input", "input_format", "image_column", "include", "exclude"),
    *("limit", "top_k", "emit", "max_pixels"),
)

# Of options that once could be `auto`: the command that prints a value for them.
_MEASURED_BY = {
    "batch_size": "labelmill plan",
    "actors": "labelmill plan",
    "precision": "labelmill models check",
}


class JobSpec(BaseModel):
    """One job as the user asked for it; `None` means that labelmill chooses.

    Without an output, a job can only be planned.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: str
    output: str = ""
    model: str = "inception_v3"
    model_repository: str | None = None
    weights: str | None = None
    labels: str | None = None
    runtime: RuntimeName = "auto"
    precision: Precision | None = None
    top_k: PositiveInt = 5
    emit: tuple[str, ...] = ("classification",)
    input_format: InputFormat | None = None
    image_column: str | None = None
    include: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    batch_size: PositiveInt | None = None
    num_gpus: NonNegativeFloat | None = None
    actors: str | None = None
    limit: PositiveInt | None = None
    max_pixels: PositiveInt = 100_000_000
    max_error_rate: Annotated[float, Field(ge=0, le=1)] = 0.01

    @field_validator("emit", mode="before")
    @classmethod
    def _split_emit(cls, value: Any) -> Any:
        names = value.split(",") if isinstance(value, str) else value
        known = ("classification", "embedding", *_FEATURE_OUTPUTS)
        for name in names if isinstance(names, list | tuple) else [names]:
            if name not in known:
                raise ValueError(f"cannot emit {name!r}; there are {', '.join(known)}")
        return tuple(dict.fromkeys(names))

    @field_validator("include", "exclude", mode="before")
    @classmethod
    def _split_globs(cls, value: Any) -> Any:
        texts = [value] if isinstance(value, str) else value or ()
        globs = (glob.strip() for text in texts for glob in str(text).split(","))
        chosen = tuple(sorted(set(filter(None, globs))))
        for glob in chosen:
            translate_glob(glob)  # is it one?
        return chosen or None

    @field_validator("actors", mode="before")
    @classmethod
    def _check_actors(cls, value: Any) -> Any:
        if value is None:
            return None
        smallest, _, largest = str(value).partition(":")
        if not smallest.isdecimal() or not (largest or smallest).isdecimal():
            raise ValueError(f"{value!r} is not MIN or MIN:MAX")
        if not 1 <= int(smallest) <= int(largest or smallest):
            raise ValueError(f"{value!r}: MIN must be at least 1 and no more than MAX")
        return str(value)

    @field_validator("batch_size", "actors", "precision", mode="before")
    @classmethod
    def _refuse_auto(cls, value: Any, info: ValidationInfo) -> Any:
        if value == "auto":
            command = _MEASURED_BY[info.field_name or ""]
            raise ValueError(f"'auto' is gone; leave it out, or take what '{command}' prints")
        return value

    @field_validator("num_gpus")
    @classmethod
    def _check_num_gpus(cls, value: float | None) -> float | None:
        if value is not None and value > 1:
            raise ValueError(f"{value:g} is more than 1; an actor uses one GPU (see --actors)")
        return value

    @classmethod
    def of_record(cls, values: dict[str, Any]) -> "JobSpec":
        """Read the spec of a job.json; earlier releases wrote `auto` where nothing was chosen."""
        unset = {name for name in _MEASURED_BY if values.get(name) == "auto"}
        return cls.model_validate(values | dict.fromkeys(unset))

    @property
    def names(self) -> Names:
        """Return which of the input's names count."""
        return Names(self.include or (), self.exclude or ())

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the network's outputs that are wanted beside the logits."""
        embedding = ("embedding",) if "embedding" in self.emit else ()
        return embedding + tuple(_FEATURE_OUTPUTS[x] for x in self.emit if x in _FEATURE_OUTPUTS)

    @property
    def actor_range(self) -> tuple[int, int] | None:
        """Return the smallest and the largest number of actors, if the user gave them."""
        if self.actors is None:
            return None
        smallest, _, largest = self.actors.partition(":")
        return int(smallest), int(largest or smallest)


_FEATURE_OUTPUTS = {f"features:{layer}": layer for layer in FEATURE_SHAPES}


def load_job_spec(
    options: dict[str, Any], config_path: Path | None = None, *, usage: str = "label INPUT OUTPUT"
) -> JobSpec:
    """Merge a YAML file with the command line's options, which win, and check the result.

    Args:
        options: keys of `JobSpec`; `None` where the command line says nothing.
        config_path: a YAML file with the same keys.
        usage: how the command is called; the arguments that it names must be there.

    Raises:
        SpecError: the file cannot be read, or a value is not what it must be.
    """
    given = {key: value for key, value in options.items() if value not in (None, ())}
    written = _read_config(config_path.expanduser()) if config_path else {}
    values = {key: value for key, (_, value) in written.items()} | given
    for name in ("input", "output"):
        if name.upper() in usage.split() and not values.get(name):
            raise SpecError(f"{name.upper()} is missing; labelmill {usage}")
    try:
        return JobSpec.model_validate(values)
    except ValidationError as exc:
        names = {key: f"{name!r} in {config_path}" for key, (name, _) in written.items()}
        names |= {key: f"--{key}".replace("_", "-") for key in given}
        problems = [(names[str(x["loc"][0])], x) for x in exc.errors()]
        if unknown := [name for name, x in problems if x["type"] == "extra_forbidden"]:
            known = ", ".join(JobSpec.model_fields)
            raise SpecError(f"{', '.join(unknown)}: no such option; there are {known}") from exc
        raise SpecError("; ".join(describe_problem(name, x) for name, x in problems)) from exc


def _read_config(path: Path) -> dict[str, tuple[str, Any]]:
    """Return key → how the file spells it, and its value."""
    try:
        # No types but text: YAML would read 2:4 as a number of base 60.
        values = yaml.load(path.read_text(), yaml.BaseLoader)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as exc:
        raise SpecError(f"cannot read job file {path}: {exc}") from exc
    if not isinstance(values, dict):
        raise SpecError(f"job file {path} must hold keys and values, such as 'top_k: 5'")
    keys: dict[str, tuple[str, Any]] = {}
    for name, value in values.items():
        key = name.replace("-", "_")
        if key in keys:
            raise SpecError(f"job file {path} has both {keys[key][0]!r} and {name!r}; keep one")
        keys[key] = (name, value)
    return {key: (name, value) for key, (name, value) in keys.items() if value != ""}
