"""What can be stored at all. Checked when an append is handed in, before it shares a transaction with others."""

from collections.abc import Iterator
from typing import Final

from keyledger.eventstore.port import Append, IdempotencyClaim, MalformedAppend, Profile

MAX_INT64: Final = 2**63 - 1
MAX_TEXT_BYTES: Final = 1024
"""Of a header field, as UTF-8. A database's index takes no entry of more than about 2,700 bytes (Postgres)."""
MAX_DATA_BYTES: Final = 512 * 1024
"""Of one event. A broker takes records up to 1 MB by default, and what it refuses would stop the relay for ever."""
MAX_DIGEST_BYTES: Final = 64

_CONTROLS: Final = dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)))


def check(append: Append) -> None:
    """Return if every field of the append can be stored on every backend; data bytes may be anything.

    Raises:
        MalformedAppend: a text field is empty, too long, or holds a control character (they would make the header's
            canonical text ambiguous, and NUL is refused by Postgres) or a lone surrogate; a number is negative or does
            not fit 64 bits; an event's data is too long; a profile comes without an event. It names the field and
            never its content.
    """
    for field, text in _texts(append):
        _check_text(field, text)
    for field, number in _numbers(append):
        if not 0 <= number <= MAX_INT64:
            raise MalformedAppend(f"{field} is negative or does not fit 64 bits")
    for event in append.events:
        _check_bytes("data", event.data, MAX_DATA_BYTES)
    if append.profile is not None:
        if not append.events:  # after a commit of unknown outcome nothing would show whether it was written
            raise MalformedAppend("a profile comes without an event")
        _check_profile(append.profile)
    if append.idempotency is not None:
        check_claim(append.idempotency)


def can_exist(name: str) -> bool:
    """Say whether a stream or user of this name can have been stored; a database may refuse even the question."""
    try:
        _check_text("name", name)
    except MalformedAppend:
        return False
    return True


def check_claim(claim: IdempotencyClaim) -> None:
    """Return if the claim can be stored and looked up. Raises MalformedAppend."""
    _check_bytes("idempotency scope", claim.scope, MAX_DIGEST_BYTES)
    _check_bytes("idempotency request_digest", claim.request_digest, MAX_DIGEST_BYTES)
    if not 0 <= claim.status <= MAX_INT64:
        raise MalformedAppend("idempotency status is negative or does not fit 64 bits")


def _texts(append: Append) -> Iterator[tuple[str, str]]:
    yield "append_id", append.append_id
    yield "organization_id", append.organization_id
    yield "stream", append.stream
    yield "request_id", append.request_id
    for guard in append.guards:
        yield "guard", guard
    for event in append.events:
        yield "event type", event.type
    for field, text in (
        ("actor_user", append.actor_user),
        ("actor_key", append.actor_key),
        ("traceparent", append.traceparent),
        ("source_address", append.source_address),
    ):
        if text is not None:
            yield field, text


def _numbers(append: Append) -> Iterator[tuple[str, int]]:
    yield "expected_version", append.expected_version
    for version in append.guards.values():
        yield "a guard's version", version
    for event in append.events:
        yield "schema_version", event.schema_version


def _check_profile(profile: Profile) -> None:
    _check_text("profile user_id", profile.user_id)
    _check_text("profile name", profile.name)
    if profile.email is not None:
        _check_text("profile email", profile.email)


def _check_text(field: str, text: str) -> None:
    if not text:
        raise MalformedAppend(f"{field} is empty")
    if text.isascii() and text.isprintable() and len(text) <= MAX_TEXT_BYTES:
        return  # nearly always, and several times faster than what follows
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise MalformedAppend(f"{field} holds a lone surrogate") from error
    if size > MAX_TEXT_BYTES:
        raise MalformedAppend(f"{field} has {size} bytes, at most {MAX_TEXT_BYTES} are stored")
    if text.translate(_CONTROLS) != text:
        raise MalformedAppend(f"{field} holds a control character")


def _check_bytes(field: str, value: bytes, most: int) -> None:
    if not isinstance(value, bytes):
        raise MalformedAppend(f"{field} is no bytes")
    if len(value) > most:
        raise MalformedAppend(f"{field} has {len(value)} bytes, at most {most} are stored")
