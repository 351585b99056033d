"""Where a request came from: the peer, or what trusted proxies say of it."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network


def source_of(peer: str, forwarded_for: Sequence[str], trusted: Sequence[Network]) -> str:
    """Return the sender's address: the rightmost of ``X-Forwarded-For`` and the peer that is no trusted proxy's.

    Whatever stands left of it was written by the sender itself and is worth nothing. ``forwarded_for``: the header's
    values in the order they were sent. Entries that are no addresses end the search at the proxy that sent them.
    """
    address = _address(peer)
    if address is None or not trusted:
        return peer
    hops = [hop.strip() for value in forwarded_for for hop in value.split(",")]
    while hops and _is_trusted(address, trusted):
        nearer = _address(hops.pop())
        if nearer is None:
            break
        address = nearer
    return str(address)


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """Return the address, without a port; an IPv4 address in IPv6 form as IPv4."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
