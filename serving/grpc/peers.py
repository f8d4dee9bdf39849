"""Who calls over gRPC: Serve listens on all interfaces, whatever the service's host is."""

import re
from ipaddress import IPv6Address, ip_address
from urllib.parse import unquote

from serving.errors import ForbiddenError

_ADDRESS = re.compile(r"ipv[46]:\[?(?P<address>[^]%]+)(%[^]]*)?\]?:\d+")


def is_loopback(host: str) -> bool:
    """Say whether `host`, a name or an address, is this machine only."""
    try:
        address = ip_address(host)
    except ValueError:
        return host.lower().rstrip(".") == "localhost"
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


def check_peer(peer: str, host: str) -> None:
    """Check that `peer`, as gRPC writes it, may ask a service that is for `host`.

    Raises:
        ForbiddenError: the service is for this machine only, and the peer is on another one.
    """
    if not is_loopback(host) or peer.startswith("unix:"):
        return
    match = _ADDRESS.fullmatch(unquote(peer))
    if match is None or not is_loopback(match["address"]):
        raise ForbiddenError(
            f"the service answers on {host} only; whoever runs it can start it with host=0.0.0.0"
        )
