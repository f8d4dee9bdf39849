"""torchvision's own ImageNet weights."""

import io
import socket
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
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
    # torch.hub announces each download on stdout.
    with _network_timeout(_TIMEOUT_S), redirect_stdout(io.StringIO()):
        weights.get_state_dict(progress=False, check_hash=True, weights_only=True)
    return path


@contextmanager
def _network_timeout(seconds: float) -> Iterator[None]:
    """Bound torch.hub's requests, which have no timeout of their own."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
