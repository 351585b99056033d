from ipaddress import ip_network

import pytest

from keyledger.verification.source import SourceAddresses

TRUSTED = [ip_network("10.0.0.0/8"), ip_network("127.0.0.1/32"), ip_network("fd00::/8")]


@pytest.mark.parametrize(
    ("peer", "forwarded", "source"),
    [
        ("192.0.2.1", [], "192.0.2.1"),
        (None, [], "unknown"),
        ("", ["192.0.2.9"], "unknown"),
        ("192.0.2.1", ["198.51.100.7"], "192.0.2.1"),  # the peer is nobody to be believed
        ("10.0.0.1", ["198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["203.0.113.5, 198.51.100.7"], "198.51.100.7"),  # a client wrote the first one itself
        ("10.0.0.1", ["203.0.113.5", "198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["198.51.100.7, 10.0.0.2"], "198.51.100.7"),
        ("10.0.0.1", ["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", ["198.51.100.7, nonsense"], "10.0.0.1"),
        ("10.0.0.1", ["nonsense, 198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["198.51.100.7:4711"], "198.51.100.7"),
        ("10.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("fd00::1", ["2001:0db8:0000::0001"], "2001:db8::1"),
        ("::ffff:192.0.2.1", [], "192.0.2.1"),
        ("::ffff:10.0.0.1", ["::ffff:198.51.100.7"], "198.51.100.7"),
        ("10.0.0.1", ["1.1.1.1," * 200 + "198.51.100.7"], "198.51.100.7"),
    ],
)
def test_the_source_is_the_rightmost_address_that_no_trusted_proxy_has(
    peer: str | None, forwarded: list[str], source: str
) -> None:
    assert SourceAddresses(TRUSTED).of(peer, forwarded) == source


def test_by_default_nobody_is_believed() -> None:
    assert SourceAddresses([]).of("127.0.0.1", ["198.51.100.7"]) == "127.0.0.1"
