"""torchvision's own ImageNet weights."""

import io
import socket
from contextlib import redirect_stdout
from pathlib import Path

import torch
from torchvision.models import Inception_V3_Weights

_TIMEOUT_S = 30


def download_imagenet() -> Path:
    """Return torchvision's ImageNet checkpoint, downloading it unless it is cached.

    Raises:
        OSError, RuntimeError, HTTPException: the download failed or is damaged.
    """
    weights = Inception_V3_Weights.IMAGENET1K_V1
    path = Path(torch.hub.get_dir(), "checkpoints", weights.url.rsplit("/", 1)[1])
    if path.exists():
        return path
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_TIMEOUT_S)  # torch.hub's requests have none of their own
    try:
        with redirect_stdout(io.StringIO()):  # torch.hub announces each download there
            weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    finally:
        socket.setdefaulttimeout(before)
    return path
