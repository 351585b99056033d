"""The ledger's row: who, what, when and in which order, chained by hashes.

The header's canonical text is a JSON array of its fields in the order given here, UTF-8, without white space, strings
escaped as in RFC 8785. Control characters are refused in every header field, so that no escape is ambiguous. The same
text is hashed and sent, so that a reader checks what it was given and never re-encodes.

``hash = SHA-256(prev_hash + SHA-256(header) + SHA-256(data))``; the first ``prev_hash`` is 32 zero bytes.
Test vectors: ``tests/unit/contracts/test_envelope.py``.
"""

from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from keyledger.domain.events import Event

FIRST_PREV_HASH: Final = bytes(32)


class Header(Struct, frozen=True, array_like=True, gc=False):
    """Everything about an event but its data. ``recorded_at`` is in microseconds since 1970, and never decreases."""

    position: int
    organization_id: str
    stream: str
    version: int
    type: str
    schema_version: int
    may_ignore: bool
    recorded_at: int
    actor_user: str | None
    actor_key: str | None
    request_id: str
    append_id: str
    traceparent: str | None


class Entry(Struct, frozen=True, gc=False):
    """One row of the ledger: the header, the event's encoded bytes and its place in the chain.

    ``gc=False``: a row holds no cycle, and they are made by the thousand.
    """

    header: Header
    data: bytes
    prev_hash: bytes
    hash: bytes


class Fact(Struct, frozen=True, gc=False):
    """A row that was read back and understood."""

    header: Header
    event: Event


encode_header: Final = msgspec.json.Encoder().encode
decode_header: Final = msgspec.json.Decoder(Header).decode


def chain_hash(prev_hash: bytes, header: bytes, data: bytes) -> bytes:
    """Return the hash of a row, from the hash before it, its header's canonical text and its data."""
    return sha256(prev_hash + sha256(header).digest() + sha256(data).digest()).digest()


def seal(header: Header, data: bytes, prev_hash: bytes) -> Entry:
    """Return the row that follows ``prev_hash``."""
    return Entry(header, data, prev_hash, chain_hash(prev_hash, encode_header(header), data))
