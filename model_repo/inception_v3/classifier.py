"""Pixels → outputs: one classifier for every runtime."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from model_repo.inception_v3.errors import InputError
from model_repo.inception_v3.options import Runtime, RuntimeOptions
from model_repo.inception_v3.repository.config import Model
from model_repo.inception_v3.repository.weights import Weights
from model_repo.inception_v3.spec import Floats, ModelSpec, Pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """What the network returns for N images, in order.

    Attributes:
        logits: float32 [N, classes].
        embedding: float32 [N, 2048], after global average pooling; None unless requested.
        features: layer → float32 [N, channels, height, width], for the requested layers.
    """

    logits: Floats
    embedding: Floats | None = None
    features: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(eq=False)
class Classifier:
    """A loaded model.

    Attributes:
        spec: what decides its predictions, besides the weights.
        weights_sha256: of the checkpoint, or `untrained:<seed>`.
        options: how it runs; none is `auto`.
        run: the network.
    """

    spec: ModelSpec
    weights_sha256: str
    options: RuntimeOptions
    run: Runtime

    @classmethod
    def load(
        cls, model: Model, weights: Weights, options: RuntimeOptions | None = None
    ) -> "Classifier":
        """Load `weights` from `find_weights` into the runtime that `options` name.

        Raises:
            WeightsError: the weights do not fit.
            ModelError: the device does not support the runtime or the precision.
        """
        options = (options or RuntimeOptions()).resolve(model.precision)
        # Imported only when used: each runtime takes seconds to import.
        if options.runtime == "openvino":
            from model_repo.inception_v3.runtimes.openvino_runtime import build_runtime  # noqa: PLC0415
        else:
            from model_repo.inception_v3.runtimes.torch_runtime import build_runtime  # noqa: PLC0415
        run = build_runtime(model.spec, weights, options)
        return cls(model.spec, weights.sha256, options, run)

    def predict(self, pixels: Pixels) -> Outputs:
        """Run the network on uint8 [N, 3, crop, crop] RGB, N ≥ 1.

        Raises:
            InputError: `pixels` has another shape or dtype.
        """
        check_pixels(pixels, self.spec)
        features = self.run(pixels)
        logits, embedding = features.pop("logits"), features.pop("embedding", None)
        return Outputs(logits=logits, embedding=embedding, features=features)


def check_pixels(pixels: Pixels, spec: ModelSpec) -> None:
    """Check that `pixels` are uint8 [N, 3, crop, crop], N ≥ 1.

    Raises:
        InputError: they have another shape or dtype.
    """
    side = spec.crop_size
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (3, side, side) or not len(pixels):
        wanted = f"uint8 [N, 3, {side}, {side}] with N of at least 1"
        raise InputError(f"pixels must be {wanted}, got {pixels.dtype} {list(pixels.shape)}")


def prepare(model: Model, weights: Weights, options: RuntimeOptions) -> None:
    """Check that `weights` fit, and do the part of loading that each machine needs only once.

    Raises:
        WeightsError: they do not fit.
    """
    if options.runtime == "openvino":
        from model_repo.inception_v3.runtimes.openvino_runtime import ensure_converted  # noqa: PLC0415

        ensure_converted(model.spec, weights)  # checks them, too
    else:
        from model_repo.inception_v3.runtimes.checkpoint import load_state_dict  # noqa: PLC0415

        load_state_dict(weights, model.spec)


def is_native(options: RuntimeOptions) -> bool:
    """Say whether this machine computes in the precision of resolved options natively."""
    if options.device == "cuda" or options.precision == "fp32":
        return True
    from model_repo.inception_v3.runtimes.openvino_runtime import computes_bf16  # noqa: PLC0415

    return computes_bf16()


def device_name(options: RuntimeOptions) -> str:
    """Return the name of the processor that resolved options use."""
    if options.device == "cuda":
        from model_repo.inception_v3.runtimes.torch_runtime import gpu_name  # noqa: PLC0415

        return gpu_name()
    from model_repo.inception_v3.runtimes.openvino_runtime import cpu_name  # noqa: PLC0415

    return cpu_name()
