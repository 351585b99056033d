"""Position tokens: opaque and MACed, so that nobody can wait for, or ask about, a position that was never given out.

Form: base64url without padding of version (1 byte), store id (16), shard (2, big-endian, 0 today), position (8) and the
first 16 bytes of HMAC-SHA256 over all before.
"""

import hmac
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from collections.abc import Callable

from keyledger.verification.peppers import KeyedDigest, Peppers
from keyledger.web.problems import Problem

_FORM = struct.Struct(">B16sHQ")
_MAC_BYTES = 16
_VERSION = 1


class PositionTokens:
    """Writes and reads the position tokens of one ledger. ``store_id``: 32 hexadecimal digits."""

    def __init__(self, store_id: str, key: bytes) -> None:
        self._store = bytes.fromhex(store_id)
        self._keyed = KeyedDigest(key)

    def write(self, position: int) -> str:
        """Return the token of a position."""
        body = _FORM.pack(_VERSION, self._store, 0, position)
        return urlsafe_b64encode(body + self._mac(body)).rstrip(b"=").decode()

    def read(self, token: str) -> int:
        """Return the position that the token names.

        Raises:
            Problem: ``invalid-position-token``: forged, damaged, or of another ledger.
        """
        try:
            raw = urlsafe_b64decode(token + "=" * (-len(token) % 4))
            body, mac = raw[: _FORM.size], raw[_FORM.size :]
            version, store, shard, position = _FORM.unpack(body)
        except (NotBase64, ValueError, struct.error):
            raise _invalid() from None
        if not hmac.compare_digest(mac, self._mac(body)) or (version, store, shard) != (_VERSION, self._store, 0):
            raise _invalid()
        return int(position)

    def _mac(self, body: bytes) -> bytes:
        return self._keyed.of(body)[:_MAC_BYTES]


def _invalid() -> Problem:
    return Problem("invalid-position-token", "send a Keyledger-Position of this server as it was given, or none")


def position_tokens(store_id: str, peppers: Peppers) -> PositionTokens:
    """Return the position tokens of a ledger, the same in every service of an installation."""
    return PositionTokens(store_id, peppers.derived("keyledger position tokens"))


class FollowedPositions:
    """The position tokens of the ledger that a process follows; which one it is, the process learns from the log."""

    def __init__(self, store_id: Callable[[], str], peppers: Peppers) -> None:
        self._store_id, self._peppers = store_id, peppers
        self._known: tuple[str, PositionTokens] | None = None

    def tokens(self) -> PositionTokens:
        """Return the tokens of the followed ledger.

        Raises:
            Problem: ``not-ready``: nothing of a ledger has arrived yet.
        """
        store_id = self._store_id()
        if not store_id:
            raise Problem("not-ready", "nothing of the ledger has arrived here yet", headers={"Retry-After": "1"})
        if self._known is None or self._known[0] != store_id:
            self._known = (store_id, position_tokens(store_id, self._peppers))
        return self._known[1]
