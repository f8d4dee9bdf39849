"""Ports for servers on loopback, chosen before they are started."""

import random
import socket
from contextlib import suppress
from itertools import islice

# None of those that the system gives to outgoing connections, which start at 32768: such a port may
# be taken between now and when it is listened on.
PORTS = range(20000, 32768)


def free_ports(count: int) -> list[int]:
    """Choose ports that nobody listens on, all different."""
    candidates = random.SystemRandom().sample(PORTS, k=200 + count)
    return list(islice(filter(_is_free, candidates), count))


def _is_free(port: int) -> bool:
    with socket.socket() as listener, suppress(OSError):
        listener.bind(("127.0.0.1", port))
        return True
    return False
