"""What a request to the verify route asks, read from its raw headers and query."""

import re
from collections.abc import Sequence
from typing import Final
from urllib.parse import parse_qsl

from msgspec import Struct

from keyledger.contracts.ports import Randomness

# Neither may be a token, sent in the wrong place: its secret would stand in the log of attempts.
_REQUEST_ID: Final = re.compile(rb"(?!.{0,13}_[0-9A-Za-z]{22}_[0-9A-Za-z]{27})[A-Za-z0-9._-]{1,64}")
_PERMISSION: Final = re.compile(r"(?!.{0,78}_[0-9A-Za-z]{22}_[0-9A-Za-z]{27})[A-Za-z0-9._-]{1,64}:[A-Za-z0-9._-]{1,64}")
_SCHEME: Final = b"bearer "
_MOST_PARAMETERS: Final = 16
_ID_BYTES: Final = 12
_IDS_AT_ONCE: Final = 512


class Refused(Exception):
    """A request that cannot be judged; ``code`` of the problem, and ``detail`` where there is more to say."""

    def __init__(self, code: str, detail: str | None = None) -> None:
        super().__init__(code)
        self.code, self.detail = code, detail


class Asked(Struct, frozen=True, gc=False):
    """The headers that matter here, each as it was sent; None where it was not."""

    authorization: bytes | None
    at_least: str | None
    request_id: str | None
    forwarded_for: Sequence[str]
    ambiguous: bool


class RequestIds:
    """New request ids. Random, so that they tell nobody how many requests there are."""

    def __init__(self, randomness: Randomness) -> None:
        self._randomness = randomness
        self._digits, self._at = "", 0

    def next(self) -> str:
        """Return an id nobody had before."""
        if self._at == len(self._digits):
            # Asking the kernel for one at a time would cost more than reading all the headers does.
            self._digits, self._at = self._randomness.token_hex(_ID_BYTES * _IDS_AT_ONCE), 0
        start, self._at = self._at, self._at + 2 * _ID_BYTES
        return f"req_{self._digits[start : self._at]}"


def read_headers(headers: Sequence[tuple[bytes, bytes]]) -> Asked:
    """Return what the headers ask. Names come in lower case (ASGI). Refuses nothing: an answer needs the request id."""
    authorization: bytes | None = None
    at_least = request_id = None
    forwarded_for: list[str] = []
    ambiguous = False
    for name, value in headers:
        if name == b"authorization":
            ambiguous = ambiguous or (authorization is not None and authorization != value)
            authorization = value
        elif name == b"keyledger-at-least":
            at_least = value.decode("latin-1")
        elif name == b"keyledger-request-id":
            request_id = value.decode("ascii") if _REQUEST_ID.fullmatch(value) else request_id
        elif name == b"x-forwarded-for":
            forwarded_for.append(value.decode("latin-1"))  # a tuple made anew each time: 80,000 of them took 12 s
    return Asked(authorization, at_least, request_id, forwarded_for, ambiguous)


def bearer_token(authorization: bytes | None) -> str | None:
    """Return the token of an ``Authorization: Bearer`` header (RFC 6750, 2.1); None where there is none.

    Bytes that are not ASCII become characters that no token has.
    """
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        return None
    return authorization[len(_SCHEME) :].strip(b" \t").decode("latin-1") or None


def asked_permission(query: bytes) -> str | None:
    """Return the permission that the query asks about.

    Raises:
        Refused: another parameter, one that repeats, one that is unreadable, or a credential, which a URL must not
            carry: it stands in every log on its way.
    """
    if not query:
        return None
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=_MOST_PARAMETERS,
        )
    except ValueError:
        raise Refused("malformed-request") from None
    names = [name for name, _ in pairs]
    if "api_key" in names:
        raise Refused(
            "malformed-request",
            "an API key must not be part of a URL, where logs and histories keep it: send it as "
            "'Authorization: Bearer <key>', and rotate the one that was just sent",
        )
    if names != ["permission"]:
        raise Refused("malformed-request", "the one query parameter that is understood here is 'permission', once")
    permission = pairs[0][1]
    if not _PERMISSION.fullmatch(permission):
        raise Refused("malformed-request", "a permission has the form 'resource:action'")
    return permission
