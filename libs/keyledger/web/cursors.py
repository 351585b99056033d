"""Page cursors: opaque, signed, and bound to the question they continue."""

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from typing import TypeVar

import msgspec

from keyledger.web.problems import Problem

_MAC_BYTES = 16
After = TypeVar("After")


class Cursors:
    """Writes and reads cursors under one key."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def write(self, question: object, after: object) -> str:
        """Return the cursor that continues ``question`` (filters and caller's organization) after ``after``."""
        body = msgspec.json.encode(after)
        return urlsafe_b64encode(self._mac(question, body) + body).rstrip(b"=").decode()

    def read(self, cursor: str, question: object, form: type[After]) -> After:
        """Return what ``write`` was given as ``after``.

        Raises:
            Problem: ``invalid-request``: not a cursor of this server, or of another question.
        """
        try:
            raw = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
            mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(question, body)):
                return msgspec.json.decode(body, type=form)
        except (NotBase64, ValueError):
            pass  # answered below, in the same words as a forged one
        detail = "send the next_cursor of the same question as it was given"
        raise Problem("invalid-request", "see errors", errors=[("query: cursor", detail)])

    def _mac(self, question: object, body: bytes) -> bytes:
        return hmac.digest(self._key, msgspec.json.encode(question) + b"\n" + body, "sha256")[:_MAC_BYTES]
