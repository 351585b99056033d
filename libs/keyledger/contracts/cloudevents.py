"""Kafka records as CloudEvents 1.0 in binary mode: attributes as ``ce_`` headers, the value is the data.

Source: CloudEvents 1.0.2, Kafka Protocol Binding, section 3.2.
"""

from binascii import hexlify, unhexlify
from functools import lru_cache
from typing import Final

from keyledger.contracts.envelope import Entry, chain_hash, decode_header, encode_header
from keyledger.contracts.registry import publish
from keyledger.domain.times import moment

Headers = tuple[tuple[str, bytes], ...]

TYPE_PREFIX: Final = "keyledger."
SPECVERSION: Final = ("ce_specversion", b"1.0")
CONTENT_TYPE: Final = ("content-type", b"application/json")


class MalformedRecord(Exception):
    """A record that is no CloudEvent of the expected kind. Nothing after it in its partition may be read."""


def attributes(*, type: str, id: str, source: str, time: int, **more: str | None) -> Headers:  # noqa: A002
    """Return the headers of a record. ``time`` is in microseconds; None leaves an extension out."""
    return (
        SPECVERSION,
        _type(type),
        ("ce_id", id.encode()),
        ("ce_source", source.encode()),
        ("ce_time", rfc3339(time).encode()),
        *((f"ce_{name}", value.encode()) for name, value in more.items() if value is not None),
        CONTENT_TYPE,
    )


def rfc3339(microseconds: int) -> str:
    """Return the time as RFC 3339 in UTC, with microseconds."""
    seconds, rest = divmod(microseconds, 1_000_000)
    return f"{_whole_second(seconds)}{rest:06}Z"


@lru_cache(maxsize=1_000)
def _time(microseconds: int) -> tuple[str, bytes]:
    # What one commit wrote has one time, and each row is formed for two topics.
    return "ce_time", rfc3339(microseconds).encode()


@lru_cache(maxsize=64)
def _whole_second(seconds: int) -> str:
    # Records come in the order of time: hundreds in a row share it, and to spell it costs more than all the rest.
    return moment(seconds * 1_000_000).isoformat(timespec="seconds").removesuffix("+00:00") + "."


def ledger_source(store_id: str) -> str:
    """Return the CloudEvents source of a ledger's facts: with the id (the position) it is unique."""
    return f"/keyledger/ledgers/{store_id}"


@lru_cache(maxsize=64)
def _ledger_source_header(store_id: str) -> tuple[str, bytes]:
    return "ce_source", ledger_source(store_id).encode()


@lru_cache(maxsize=256)
def _type(name: str) -> tuple[str, bytes]:
    return "ce_type", f"{TYPE_PREFIX}{name}".encode()


def private_record(entry: Entry, store_id: str) -> tuple[Headers, bytes]:
    """Return the record of the private ledger topic: the hashed header travels as the text that was hashed."""
    header = entry.header
    named = (
        SPECVERSION,
        _type(header.type),
        ("ce_id", b"%d" % header.position),
        _ledger_source_header(store_id),
        _time(header.recorded_at),
        ("ce_subject", header.stream.encode()),
        ("ce_ledgerheader", encode_header(header)),
        ("ce_prevhash", hexlify(entry.prev_hash)),
        ("ce_hash", hexlify(entry.hash)),
        CONTENT_TYPE,
    )
    return named, entry.data


def published_record(entry: Entry, store_id: str) -> tuple[Headers, bytes]:
    """Return the record of the published topic: no digest, and only ``Withheld`` for what is private."""
    header = entry.header
    published = publish(entry)
    position = b"%d" % header.position
    named = [
        SPECVERSION,
        _type(published.type),
        ("ce_id", position),
        _ledger_source_header(store_id),
        _time(header.recorded_at),
        ("ce_subject", header.stream.encode()),
        ("ce_position", position),
        ("ce_organizationid", header.organization_id.encode()),
        ("ce_streamversion", b"%d" % header.version),
        ("ce_schemaversion", b"%d" % published.schema_version),
    ]
    if header.actor_user is not None:
        named.append(("ce_actoruser", header.actor_user.encode()))
    if header.actor_key is not None:
        named.append(("ce_actorkey", header.actor_key.encode()))
    named.append(("ce_requestid", header.request_id.encode()))
    if header.traceparent is not None:
        named.append(("ce_traceparent", header.traceparent.encode()))
    named.append(CONTENT_TYPE)
    return tuple(named), published.data


def read_private(headers: Headers, value: bytes | None) -> tuple[str, Entry]:
    """Return the source and the row that a record of the private topic carries, its hash checked.

    Raises:
        MalformedRecord: a header is missing or unreadable, or the row's hash is not that of its contents.
    """
    named = dict(headers)
    try:
        text, source = named["ce_ledgerheader"], named["ce_source"].decode()
        header = decode_header(text)
        prev_hash, stated = unhexlify(named["ce_prevhash"]), unhexlify(named["ce_hash"])
    except (KeyError, ValueError) as error:
        raise MalformedRecord(f"no ledger record: {error}") from error
    if value is None:
        raise MalformedRecord(f"position {header.position} has no data")
    if chain_hash(prev_hash, text, value) != stated:
        raise MalformedRecord(f"position {header.position}: its contents do not have the hash it states")
    return source, Entry(header, value, prev_hash, stated)
