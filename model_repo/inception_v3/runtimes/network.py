"""The network: torchvision's Inception V3, from uint8 pixels to all outputs at once."""

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models import Inception3, inception_v3
from torchvision.models.inception import BasicConv2d

from model_repo.inception_v3.spec import (
    FEATURE_SHAPES,
    IMAGENET_MEAN,
    IMAGENET_STD,
    OUTPUT_NAMES,
    ModelSpec,
)


class Network(nn.Module):
    """Inception V3 that normalises its input and also returns embedding and feature maps.

    `forward` takes uint8 [N, 3, H, W] RGB and returns, in the order of `OUTPUT_NAMES`: logits
    [N, classes], embedding [N, 2048] and the maps of `FEATURE_SHAPES`, in the dtype of the weights.
    """

    scale: Tensor
    shift: Tensor

    def __init__(self, spec: ModelSpec, state_dict: Mapping[str, Tensor]) -> None:
        """Build it with torchvision's tensor names, without the auxiliary head."""
        super().__init__()
        with torch.device("meta"):  # no need to initialise the weights
            inception = build_inception(spec.num_classes)
        inception.load_state_dict(state_dict, assign=True)
        self.stages = _fold_batch_norm(inception.eval())
        scale, shift = input_affine(spec)
        self.register_buffer("scale", scale.view(1, 3, 1, 1))
        self.register_buffer("shift", shift.view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Return logits, embedding and feature maps of uint8 `pixels`."""
        # Always in float32: half precision would round the pixels.
        x = (pixels.float() * self.scale + self.shift).to(self.stages.fc.weight.dtype)
        outputs: dict[str, Tensor] = {}
        # torchvision registers the stages in the order in which its own forward runs them.
        for name, stage in self.stages.named_children():
            if name == "fc":
                x = outputs["embedding"] = torch.flatten(x, 1)
            x = stage(x)
            if name in FEATURE_SHAPES:
                outputs[name] = x
        outputs["logits"] = x
        return tuple(outputs[name] for name in OUTPUT_NAMES)


def build_inception(num_classes: int) -> Inception3:
    """Build torchvision's network, uninitialised; its input is normalised outside it."""
    return inception_v3(
        num_classes=num_classes, aux_logits=False, transform_input=False, init_weights=False
    )


def input_affine(spec: ModelSpec) -> tuple[Tensor, Tensor]:
    """Return float32 scale and shift [3] that take pixel values 0..255 to the network's input.

    One multiply-add does it all: scale to 0..1, normalise by mean and std and, if `transform_input`
    is set, torchvision's own step from ImageNet's statistics to -1..1.
    """
    double = partial(torch.tensor, dtype=torch.float64)
    scale, shift = 1 / (255 * double(spec.std)), -double(spec.mean) / double(spec.std)
    if spec.transform_input:
        gain = double(IMAGENET_STD) / 0.5
        scale, shift = scale * gain, shift * gain + (double(IMAGENET_MEAN) - 0.5) / 0.5
    return scale.float(), shift.float()


def _fold_batch_norm(inception: Inception3) -> Inception3:
    for module in inception.modules():
        if isinstance(module, BasicConv2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.bn)
            module.bn = nn.Identity()
    return inception
