"""Refuse gRPC callers on other machines: Serve listens on all interfaces whatever `host` is."""

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import unquote

from serving.errors import ForbiddenError

_ADDRESS = re.compile(r"ipv[46]:\[?(?P<address>[^]%]+)(%[^]]*)?\]?:\d+")


def is_loopback(host: str) -> bool:
    """Say whether `host`, a name or an address, is a loopback one."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def check_peer(peer: str, host: str) -> None:
    """Check that `peer`, as gRPC writes it, may call a service with this `host`.

    Raises:
        ForbiddenError: `host` is a loopback one, and the peer is on another machine.
    """
    if not is_loopback(host) or peer.startswith("unix:"):
        return
    match = _ADDRESS.fullmatch(unquote(peer))
    if match is None or not is_loopback(match["address"]):
        raise ForbiddenError(
            f"the service answers on {host} only; to reach it from here, start it with host=0.0.0.0"
        )
