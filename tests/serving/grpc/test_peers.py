import pytest

from serving.errors import ForbiddenError
from serving.grpc.peers import check_peer, is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost", "::ffff:127.0.0.1"])
def test_this_machine_only(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", "localhost.evil.org"])
def test_others_too(host):
    assert not is_loopback(host)


@pytest.mark.parametrize(
    "peer",
    ["ipv4:127.0.0.1:5", "ipv6:[::1]:5", "ipv6:%5B::1%5D:5", "ipv6:[::ffff:127.0.0.1]:5", "unix:"],
)
def test_own_calls_are_let_in(peer):
    check_peer(peer, "127.0.0.1")


@pytest.mark.parametrize(
    "peer",
    ["ipv4:10.0.0.1:5", "ipv6:[fe80::1%25eth0]:5", "ipv6:[::ffff:10.0.0.1]:5", "127.0.0.1:5", ""],
)
def test_calls_from_elsewhere_are_refused_unless_asked_for(peer):
    check_peer(peer, "0.0.0.0")
    with pytest.raises(ForbiddenError, match="localhost"):
        check_peer(peer, "localhost")
