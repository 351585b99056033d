"""How a verdict is said over HTTP."""

from typing import Any, Final

import msgspec
from msgspec import Struct

from keyledger.contracts.cloudevents import rfc3339
from keyledger.contracts.problems import PROBLEMS
from keyledger.domain.events import Environment, KeyType, OwnerType
from keyledger.verification.verdict import Verdict

HeaderList = list[tuple[bytes, bytes]]

JSON: Final = b"application/json"
PROBLEM_JSON: Final = b"application/problem+json"
REQUEST_ID_HEADER: Final = b"keyledger-request-id"

_encode: Final = msgspec.json.Encoder().encode
_NO_STORE: Final = (b"cache-control", b"no-store")
_CHALLENGE: Final = (b"www-authenticate", b'Bearer realm="keyledger"')
_RETRY: Final = (b"retry-after", b"1")
_WORTH_RETRYING: Final = frozenset({"projection-behind", "verifier-stale", "not-ready"})

DETAILS: Final[dict[str, str]] = {
    "malformed-request": "the query string cannot be read",
    "missing-credential": "send the API key as 'Authorization: Bearer <key>'",
    "invalid-credential": "the API key is unknown, is no key, or its secret was replaced",
    "expired": "the API key's expiry has passed: ask for a new key",
    "revoked": "the API key was revoked and will not work again: ask for a new key",
    "owner-deactivated": "the user who owned the API key was deactivated; it will not work again",
    "disabled": "the API key is disabled: it is refused until it is enabled again",
    "insufficient-permission": "the API key's role does not contain the asked permission",
    "verifier-stale": "the verifier cannot prove that it knows of every revocation: try again, or ask another one",
    "not-ready": "the verifier is starting: try again",
    "projection-behind": "the verifier has not applied the position of Keyledger-At-Least yet: try again",
    "invalid-position-token": "send a Keyledger-Position of this server as it was given, or none",
    "ambiguous-credential": "send one Authorization header",
    "not-found": "there is nothing at this path",
    "method-not-allowed": "ask with GET or HEAD",
    "internal": "the request id finds the details in the log",
}
"""One text for each code, whoever asks: two refusals of the same kind differ in their request id alone."""


class KeyOwner(Struct, frozen=True, gc=False):
    """Who owns the key."""

    type: OwnerType | None
    id: str | None


class VerifiedKey(Struct, frozen=True, gc=False, kw_only=True):
    """The body of a good verdict. ``role``: the key's, else its owner's only one; None where the owner has several.

    ``permissions`` is what all of its roles allow together. ``stale`` is there, and true, only where the operator
    chose that a verifier answers although it cannot prove that it is up to date.
    """

    valid: bool
    code: str
    key_id: str | None
    name: str | None
    type: KeyType | None
    organization_id: str | None
    owner: KeyOwner
    role: str | None
    permissions: tuple[str, ...]
    environment: Environment | None
    expires_at: str | None
    metadata: dict[str, Any]
    position: str
    fresh_as_of: str | None
    stale: bool | msgspec.UnsetType = msgspec.UNSET


class ProblemBody(Struct, frozen=True, gc=False):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    request_id: str


def body_of(verdict: Verdict, position: str, fresh_as_of: str | None) -> bytes:
    """Return the body of a good verdict; ``position`` and ``fresh_as_of`` as they are written on the wire."""
    return _encode(
        VerifiedKey(
            valid=True,
            code=verdict.code,
            key_id=verdict.key_id,
            name=verdict.name,
            type=verdict.type,
            organization_id=verdict.organization_id,
            owner=KeyOwner(verdict.owner_type, verdict.owner_id),
            role=verdict.role[0] if len(verdict.role) == 1 else None,
            permissions=verdict.permissions,
            environment=verdict.environment,
            expires_at=None if verdict.expires_at is None else rfc3339(verdict.expires_at),
            metadata=verdict.metadata,
            position=position,
            fresh_as_of=fresh_as_of,
            stale=True if verdict.stale else msgspec.UNSET,
        )
    )


def headers_of(body: bytes, request_id: str) -> HeaderList:
    """Return the headers of a good verdict."""
    return [
        (b"content-type", JSON),
        (b"content-length", b"%d" % len(body)),
        _NO_STORE,
        (REQUEST_ID_HEADER, request_id.encode()),
    ]


def problem(code: str, request_id: str, detail: str | None = None) -> tuple[int, HeaderList, bytes]:
    """Return status, headers and body of a refusal. ``detail`` never repeats what was sent."""
    kind = PROBLEMS[code]
    body = _encode(
        ProblemBody(f"urn:keyledger:problem:{code}", kind.title, kind.status, detail or DETAILS[code], code, request_id)
    )
    headers = [
        (b"content-type", PROBLEM_JSON),
        (b"content-length", b"%d" % len(body)),
        _NO_STORE,
        (REQUEST_ID_HEADER, request_id.encode()),
    ]
    if kind.status == 401:  # noqa: PLR2004 - RFC 9110, 15.5.2: a 401 names its scheme
        headers.append(_CHALLENGE)
    if code in _WORTH_RETRYING:
        headers.append(_RETRY)
    return kind.status, headers, body
