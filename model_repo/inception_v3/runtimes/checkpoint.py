"""Checkpoints: tensors from a file or a seed, checked to fit the network."""

import re
import zipfile
from collections.abc import Mapping
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model_repo.inception_v3.errors import WeightsError
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.runtimes.network import Network, build_inception
from model_repo.inception_v3.spec import ModelSpec

# Only training uses this head, and people who train a new one often leave it as it was; the other
# one is what torch's AveragedModel counts.
_UNUSED = ("AuxLogits.", "n_averaged")
# Where training scripts save the state dict beside the optimizer's, one inside the other.
_STATE_DICTS = ("state_dict", "model_state_dict", "model")
# What DataParallel, torch.compile and a Lightning module put before each name.
_WRAPPERS = re.compile(r"^(?:(?:module|model|_orig_mod)\.)+")


def load_state_dict(weights: Weights, spec: ModelSpec) -> dict[str, Tensor]:
    """Load and check weights for the network of `spec`.

    Returns:
        float32 tensors under torchvision's names, without the auxiliary head.

    Raises:
        WeightsError: the file is damaged, or a tensor is missing, extra, misshapen or not finite.
    """
    if weights.path is None:
        return _untrained(spec, weights.seed)
    kept = {
        name: value.float() if value.is_floating_point() else value
        for name, value in _unwrap(_read(weights.path), weights.path).items()
        if not name.startswith(_UNUSED)
    }
    _check(kept, spec, weights.path)
    for name, value in kept.items():
        if not torch.isfinite(value).all():
            raise WeightsError(f"tensor {name!r} in {weights.path} holds NaN or infinity")
    return kept


def _read(path: Path) -> Mapping[str, Tensor]:
    if _is_torchscript(path):
        raise WeightsError(
            f"{path} is a TorchScript file, which holds code; save its tensors alone: "
            f"torch.save(torch.jit.load({path.name!r}).state_dict(), 'model.pt')"
        )
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file  # noqa: PLC0415 - seeded weights do not need it

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # torch.load raises a dozen unrelated classes on damaged files
        reason = str(exc).partition("\n")[0]
        if path.suffix != ".safetensors" and not isinstance(exc, OSError):
            # torch's own words advise to unpickle it, or are about its internals
            reason = "it is damaged or holds more than tensors"
        raise WeightsError(
            f"cannot load weights {path}: {reason}; it must be a safetensors file or a checkpoint "
            "of tensors alone (torch.save of a state_dict)"
        ) from exc
    return _find_state_dict(content, path)


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except (zipfile.BadZipFile, NotImplementedError, OSError):
        return False  # torch.load says what is wrong


def _find_state_dict(content: Any, path: Path) -> Mapping[str, Tensor]:
    for _ in _STATE_DICTS:  # a hostile file may hold itself
        if isinstance(content, Mapping):
            nested = (content[x] for x in _STATE_DICTS if isinstance(content.get(x), Mapping))
            content = next(nested, content)
    if isinstance(content, Mapping) and all(
        isinstance(name, str) and torch.is_tensor(value) for name, value in content.items()
    ):
        return content
    found = f", but {', '.join(map(repr, [*content][:5]))}" if isinstance(content, Mapping) else ""
    raise WeightsError(f"{path} holds no state dict{found}; save model.state_dict()")


def _unwrap(state_dict: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Take the prefixes of wrappers off the names."""
    plain: dict[str, Tensor] = {}
    for name, value in state_dict.items():
        short = _WRAPPERS.sub("", name)
        if short in plain:
            raise WeightsError(
                f"{path} holds tensor {short!r} more than once, under prefixes such as that of "
                f"{name!r}; save the state_dict() of one network"
            )
        plain[short] = value
    return plain


def _check(state_dict: Mapping[str, Tensor], spec: ModelSpec, path: Path) -> None:
    """Compare names and shapes with the network's, and then the head with the labels."""
    head = state_dict.get("fc.weight")
    classes = head.shape[0] if head is not None and head.ndim == 2 else 0
    classes = classes or spec.num_classes
    with torch.device("meta"):
        expected = build_inception(classes).state_dict()
    missing = [
        f"{name!r} is missing"
        for name in expected
        # Checkpoints older than PyTorch 0.4.1 lack these counters, which inference does not use.
        if name not in state_dict and not name.endswith(".num_batches_tracked")
    ]
    extra = [f"{name!r} does not belong" for name in state_dict if name not in expected]
    misshapen = [
        f"{name!r} has shape {list(state_dict[name].shape)} instead of {list(tensor.shape)}"
        for name, tensor in expected.items()
        if name in state_dict and state_dict[name].shape != tensor.shape
    ]
    # The first of each kind tell more than several of one.
    problems = list(filter(None, chain.from_iterable(zip_longest(missing, extra, misshapen))))
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise WeightsError(
            f"{path} does not fit Inception V3: tensor {', '.join(problems[:3])}{more}; "
            "torchvision's and timm's names are accepted"
        )
    if classes != spec.num_classes:
        raise WeightsError(
            f"{path} has a head of {classes} classes, but there are {spec.num_classes} "
            "labels; give the labels file that the model was trained with (--labels PATH, or the "
            "model's labels.txt)"
        )


def _untrained(spec: ModelSpec, seed: int) -> dict[str, Tensor]:
    """Make seeded weights whose scores differ between images, but mean nothing."""
    generator = torch.Generator().manual_seed(seed)
    inception = build_inception(spec.num_classes).eval()
    with torch.no_grad():
        for module in inception.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu", generator=generator)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)
        # Otherwise the part of the embedding that all images share would decide every label.
        grey = torch.full((1, 3, spec.crop_size, spec.crop_size), 128, dtype=torch.uint8)
        common = Network(spec, inception.state_dict())(grey)[1]
        common = common / common.norm()
        head = inception.fc.weight
        inception.fc.weight.copy_((head - head @ common.T * common) * 50)
    return dict(inception.state_dict())
