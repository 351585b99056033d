"""Where a request comes from: the peer, or whom trusted proxies name."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

UNKNOWN = "unknown"
"""The source of a request whose peer has no address: it came over a local socket."""

_REMEMBERED = 8192
_REMEMBERED_LENGTH = 128


class SourceAddresses:
    """Finds the source address of requests. Only what a proxy in ``trusted`` networks says of its peer is believed."""

    def __init__(self, trusted: Iterable[Network]) -> None:
        self._trusted = tuple(trusted)
        # Parsing costs microseconds, and the same few peers ask again and again.
        self._find = lru_cache(maxsize=_REMEMBERED)(self._found)

    def of(self, peer: str | None, forwarded_for: Sequence[str]) -> str:
        """Return the address: the rightmost untrusted of ``X-Forwarded-For`` and the peer, in its shortest form.

        ``forwarded_for`` are the header's values in the order they came. What a client writes into them stands left
        of what the trusted proxies add, and is never reached. An IPv4 address in IPv6 form is the IPv4 address.
        """
        hops = ",".join(forwarded_for) if forwarded_for and self._trusted else ""
        # A client may send as much as it likes, and must not fill the memory with it.
        return self._find(peer, hops) if len(hops) <= _REMEMBERED_LENGTH else self._found(peer, hops)

    def _found(self, peer: str | None, forwarded_for: str) -> str:
        here = _parse(peer or "")
        if here is None:
            return UNKNOWN
        hops = [hop for hop in forwarded_for.split(",") if hop.strip()]
        while hops and self._is_trusted(here):
            before = _parse(hops.pop().strip())
            if before is None:
                break  # a trusted proxy passed on something else: nothing left of it can be believed
            here = before
        return str(here)

    def _is_trusted(self, address: Address) -> bool:
        return any(address in network for network in self._trusted)


def _parse(text: str) -> Address | None:
    """Return the address that a hop names, with or without port; None where it names none."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return address if mapped is None else mapped
