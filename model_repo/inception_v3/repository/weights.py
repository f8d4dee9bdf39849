"""Weights: where they come from, and what identifies them. Nothing is loaded here.

A source, as in `--weights`, is a checkpoint file, a folder with one or `untrained[:seed]`. Without
one, it is the model's version folder, then torchvision's own download.
"""

import hashlib
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path

from model_repo.inception_v3.errors import WeightsError
from model_repo.inception_v3.repository.config import BUILTIN_REPOSITORY, Model, read_labels

CHECKPOINT_NAMES = ("model.safetensors", "model.pt")
UNTRAINED = "untrained"


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that are known to exist.

    Attributes:
        path: the checkpoint file; None for seeded weights.
        sha256: the file's, or `untrained:<seed>`.
    """

    path: Path | None
    sha256: str

    @property
    def seed(self) -> int:
        """Return the seed of untrained weights."""
        return int(self.sha256.partition(":")[2])


def is_untrained(source: str) -> bool:
    """Say whether `source` asks for seeded weights rather than a checkpoint."""
    return source.partition(":")[0] == UNTRAINED


def find_weights(model: Model, source: str | None = None) -> Weights:
    """Find the weights that `source` names (None: the model's own), and hash them.

    Raises:
        WeightsError: there are no such weights; the message says how to get some.
    """
    if source is not None and is_untrained(source):
        seed = source.partition(":")[2] or "0"
        if not seed.isdecimal() or int(seed) >= 2**63:
            raise WeightsError(
                f"{source!r}: the seed of untrained weights must be a whole number below 2**63"
            )
        return Weights(None, f"{UNTRAINED}:{int(seed)}")
    path = _find_checkpoint(Path(source)) if source else _find_own(model)
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Weights(path, digest)


def _find_checkpoint(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        problem = f"weights {str(path)!r} do not exist"
        raise WeightsError(f"{problem}; give a checkpoint file or 'untrained'")
    for name in CHECKPOINT_NAMES:
        if (path / name).is_file():
            return path / name
    raise WeightsError(f"folder {path} holds none of {', '.join(CHECKPOINT_NAMES)}")


def _find_own(model: Model) -> Path:
    try:
        return _find_checkpoint(model.folder)
    except WeightsError as exc:
        own_error = exc
    if model.spec.labels != read_labels(BUILTIN_REPOSITORY / "inception_v3" / "labels.txt"):
        raise WeightsError(
            f"model {model.spec.name!r} has no weights: {own_error}; put a checkpoint there or "
            "name one with --weights PATH"
        )
    # Here, because it imports torch.
    from model_repo.inception_v3.repository.download import download_imagenet  # noqa: PLC0415

    try:
        return download_imagenet()
    except (OSError, RuntimeError, HTTPException) as exc:
        raise WeightsError(
            f"no weights for model {model.spec.name!r}: {model.folder} holds none and "
            f"torchvision's download failed ({exc}); either run once where that download works, "
            "or name a checkpoint with --weights PATH (or put it there as model.safetensors or "
            "model.pt); --weights untrained runs a seeded network for a trial"
        ) from exc
