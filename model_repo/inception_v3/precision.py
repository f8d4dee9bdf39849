"""Which precision a network runs in, where it is left to labelmill: by what was measured."""

from dataclasses import replace

from model_repo.inception_v3.checks import PrecisionCheck
from model_repo.inception_v3.options import Device, Precision, RuntimeOptions
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.spec import ModelSpec

# What `auto` may use instead of fp32. On GPUs bf16 is no faster than fp16, and further from fp32.
LOWER: dict[Device, Precision] = {"cpu": "bf16", "cuda": "fp16"}


def choose_precision(
    options: RuntimeOptions, spec: ModelSpec, weights: Weights
) -> tuple[RuntimeOptions, PrecisionCheck | None]:
    """Resolve options, `auto` precision by the checks that lie beside the weights.

    On CPUs `auto` is fp32 unless a check says that bf16 keeps the labels of these weights, and this
    machine computes bf16. On GPUs it is fp16, which is much closer to fp32 than bf16 is, unless a
    check says that it does not keep them. A check of too few images decides nothing.

    Returns:
        Options with nothing left at `auto`, and the check that decided or that is of the precision
        asked for; None where there is none.

    Raises:
        ModelError: the runtime or the precision does not go with the device.
        RepositoryError: the checks are damaged, and fp32 was not asked for.
    """
    resolved = options.resolve()
    if options.precision == "fp32":  # which checks say nothing of
        return resolved, None
    wanted = resolved.precision
    if options.precision == "auto":
        wanted = LOWER[resolved.device]
    lower = replace(resolved, precision=wanted)
    check = next((x for x in weights.checks if x.fits(lower, spec, weights.sha256)), None)
    if check is None or not check.is_conclusive or options.precision != "auto":
        return resolved, check
    if check.passed and is_native(lower):
        return lower, check
    return replace(resolved, precision="fp32"), check


def explain_precision(options: RuntimeOptions, check: PrecisionCheck | None) -> str | None:
    """Say in one line what is known of the precision in use; None where there is nothing to say.

    Args:
        options: as `choose_precision` resolved them.
        check: what it found.
    """
    if check is None:
        if options.precision == "fp32":
            return None
        return (
            f"{options.precision} was not checked with these weights; 'labelmill models check "
            f"--precision {options.precision}' compares it with fp32 on images of yours"
        )
    if check.precision == options.precision:
        return check.describe()
    reason = check.shortfall or "this machine does not compute in it"
    return f"{check.describe()}: {reason}, so {options.precision} is used"


def is_native(options: RuntimeOptions) -> bool:
    """Say whether this machine computes in the precision of resolved options, not around it."""
    if options.device == "cuda" or options.precision == "fp32":
        return True
    from model_repo.inception_v3.runtimes.openvino_runtime import computes_bf16  # noqa: PLC0415 - slow

    return computes_bf16()
