"""The model repository: its models, and what their config.pbtxt and labels.txt say.

A model is a folder in Triton's layout: `<model>/config.pbtxt`, `<model>/labels.txt`,
`<model>/<version>/model.safetensors`. It is only read as data; no code in it runs.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_repo.inception_v3.errors import RepositoryError
from model_repo.inception_v3.spec import PRECISIONS, ModelSpec, Precision

if TYPE_CHECKING:
    from tritonclient.grpc import model_config_pb2

BUILTIN_REPOSITORY = Path(__file__).resolve().parents[2]

_VERSION = re.compile("[1-9][0-9]*")  # what Triton accepts as a version folder's name


@dataclass(frozen=True, slots=True)
class Model:
    """One version of one model, as its files describe it.

    Attributes:
        spec: what decides its predictions, besides the weights.
        folder: the version's own.
        precision: the default one; None depends on the device.
    """

    spec: ModelSpec
    folder: Path
    precision: Precision | None = None


def load_model(
    repository: Path = BUILTIN_REPOSITORY,
    reference: str = "inception_v3",
    *,
    labels_path: Path | None = None,
) -> Model:
    """Read the config and labels of the model `name` (its newest version) or `name:version`.

    A labels file given by `labels_path` is used instead of the model's own.

    Raises:
        RepositoryError: there is no such model or version, or its files are wrong.
    """
    name, _, version = reference.partition(":")
    folder = repository / name
    if not (folder / "config.pbtxt").is_file():
        raise RepositoryError(_unknown_model(repository, name))
    config = parse_config(folder / "config.pbtxt")
    if config.name and config.name != name:
        raise RepositoryError(
            f"{folder / 'config.pbtxt'} names the model {config.name!r}, but its folder is "
            f"{name!r}; make them equal"
        )
    version = _choose_version(folder, version)
    named = (output.label_filename for output in config.output if output.label_filename)
    labels = read_labels(labels_path or folder / next(named, "labels.txt"))
    if labels_path is None:
        _check_class_count(config, folder, len(labels))
    return _read_parameters(config, folder / version, labels)


def list_models(repository: Path) -> list[str]:
    """Return the names of the models in `repository`, sorted."""
    return sorted(path.parent.name for path in repository.glob("*/config.pbtxt"))


def parse_config(path: Path) -> "model_config_pb2.ModelConfig":
    """Parse a config.pbtxt with Triton's own schema.

    Raises:
        RepositoryError: the file cannot be read or is not a valid ModelConfig.
    """
    # Here, because it imports gRPC, which most processes never need.
    from google.protobuf import text_format  # noqa: PLC0415
    from tritonclient.grpc import model_config_pb2  # noqa: PLC0415

    try:
        return text_format.Parse(path.read_text("utf-8"), model_config_pb2.ModelConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as exc:
        raise RepositoryError(f"cannot read {path}: {exc}") from exc


def read_labels(path: Path) -> tuple[str, ...]:
    """Read one class name per line.

    Raises:
        RepositoryError: the file is missing, empty, or has an empty line among the names.
    """
    try:
        labels = tuple(line.strip() for line in path.read_text("utf-8-sig").rstrip().split("\n"))
    except (OSError, UnicodeDecodeError) as exc:
        problem = f"cannot read labels file {path}: {exc}"
        raise RepositoryError(f"{problem}; it holds one class name per line") from exc
    if "" in labels:
        raise RepositoryError(f"line {labels.index('') + 1} of labels file {path} is empty")
    return labels


def _read_parameters(
    config: "model_config_pb2.ModelConfig", folder: Path, labels: tuple[str, ...]
) -> Model:
    name, version, batch = folder.parent.name, folder.name, config.max_batch_size or 1
    try:
        given = {key: _parse(config, key) for key in _PARSERS if key in config.parameters}
        precision = given.pop("precision", None)
        spec = ModelSpec(name=name, version=version, labels=labels, max_batch_size=batch, **given)
    except ValueError as exc:
        raise RepositoryError(f"parameters of model {name!r} in config.pbtxt: {exc}") from exc
    if spec.architecture != "inception_v3":
        found = f"model {name!r} has architecture {spec.architecture!r}"
        raise RepositoryError(f"{found}; only 'inception_v3' is supported")
    return Model(spec, folder, precision)


def _parse(config: "model_config_pb2.ModelConfig", key: str) -> Any:
    try:
        return _PARSERS[key](config.parameters[key].string_value)
    except ValueError as exc:
        raise ValueError(f"{key}: {exc}") from exc


def _precision(text: str) -> str:
    if text.lower() not in PRECISIONS:
        raise ValueError(f"{text!r} is not one of {', '.join(PRECISIONS)}")
    return text.lower()


def _triple(text: str) -> tuple[float, float, float]:
    values = [float(part) for part in text.split(",")]
    if len(values) != 3 or not all(map(math.isfinite, values)):
        raise ValueError(f"{text!r} is not three comma-separated numbers")
    return (values[0], values[1], values[2])


def _boolean(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"{text!r} is neither 'true' nor 'false'")
    return text.lower() == "true"


_PARSERS: dict[str, Callable[[str], Any]] = {
    "architecture": str,
    "resize_size": int,
    "crop_size": int,
    "mean": _triple,
    "std": _triple,
    "transform_input": _boolean,
    "precision": _precision,
}


def _choose_version(folder: Path, version: str) -> str:
    """Return `version` if there is such a folder, and the newest one for `""`."""
    names = [path.name for path in folder.iterdir() if path.is_dir()]
    versions = sorted(filter(_VERSION.fullmatch, names), key=int)
    if not version and not versions:
        raise RepositoryError(f"{folder} has no version folder; put the weights into {folder}/1")
    if version and version not in versions:
        known = ", ".join(versions) or "none"
        raise RepositoryError(f"model {folder.name!r} has no version {version!r}; it has {known}")
    return version or versions[-1]


def _unknown_model(repository: Path, name: str) -> str:
    if not repository.is_dir():
        return f"model repository {repository} does not exist"
    if (repository / name).is_dir():
        example = BUILTIN_REPOSITORY / "inception_v3" / "config.pbtxt"
        return f"model folder {repository / name} has no config.pbtxt; start from {example}"
    known = ", ".join(list_models(repository)) or "no model"
    return f"model repository {repository} has no model {name!r}; it has {known}"


def _check_class_count(
    config: "model_config_pb2.ModelConfig", folder: Path, label_count: int
) -> None:
    for output in config.output:
        if output.name == "classification" and list(output.dims) not in ([label_count], [-1]):
            raise RepositoryError(
                f"{folder / 'config.pbtxt'} says classification has dims {list(output.dims)}, "
                f"but the labels file has {label_count} names; make them agree"
            )
