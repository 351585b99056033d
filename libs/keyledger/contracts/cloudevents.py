"""Kafka records as CloudEvents 1.0 in binary mode: attributes as ``ce_`` headers, the value is the data.

Source: CloudEvents 1.0.2, Kafka Protocol Binding, section 3.2.
"""

from typing import Final

from keyledger.contracts.envelope import Entry, chain_hash, decode_header, encode_header
from keyledger.contracts.registry import publish
from keyledger.domain.times import moment

Headers = tuple[tuple[str, bytes], ...]

TYPE_PREFIX: Final = "keyledger."
JSON: Final = b"application/json"


class MalformedRecord(Exception):
    """A record that is no CloudEvent of the expected kind. Nothing after it in its partition may be read."""


def attributes(*, type: str, id: str, source: str, time: int, **more: str | None) -> Headers:  # noqa: A002
    """Return the headers of a record. ``time`` is in microseconds; None leaves an extension out."""
    named = {
        "specversion": "1.0",
        "type": TYPE_PREFIX + type,
        "id": id,
        "source": source,
        "time": rfc3339(time),
        **more,
    }
    texts = ((f"ce_{name}", value.encode()) for name, value in named.items() if value is not None)
    return (*texts, ("content-type", JSON))


def rfc3339(microseconds: int) -> str:
    """Return the time as RFC 3339 in UTC, with microseconds."""
    return moment(microseconds).isoformat(timespec="microseconds").replace("+00:00", "Z")


def ledger_source(store_id: str) -> str:
    """Return the CloudEvents source of a ledger's facts: with the id (the position) it is unique."""
    return f"/keyledger/ledgers/{store_id}"


def private_record(entry: Entry, store_id: str) -> tuple[Headers, bytes]:
    """Return the record of the private ledger topic: the hashed header travels as the text that was hashed."""
    header = entry.header
    named = attributes(
        type=header.type,
        id=str(header.position),
        source=ledger_source(store_id),
        time=header.recorded_at,
        subject=header.stream,
        ledgerheader=encode_header(header).decode(),
        prevhash=entry.prev_hash.hex(),
        hash=entry.hash.hex(),
    )
    return named, entry.data


def published_record(entry: Entry, store_id: str) -> tuple[Headers, bytes]:
    """Return the record of the published topic: no digest, and only ``Withheld`` for what is private."""
    header = entry.header
    published = publish(entry)
    named = attributes(
        type=published.type,
        id=str(header.position),
        source=ledger_source(store_id),
        time=header.recorded_at,
        subject=header.stream,
        position=str(header.position),
        organizationid=header.organization_id,
        streamversion=str(header.version),
        schemaversion=str(published.schema_version),
        actoruser=header.actor_user,
        actorkey=header.actor_key,
        requestid=header.request_id,
        traceparent=header.traceparent,
    )
    return named, published.data


def read_private(headers: Headers, value: bytes | None) -> tuple[str, Entry]:
    """Return the source and the row that a record of the private topic carries, its hash checked.

    Raises:
        MalformedRecord: a header is missing or unreadable, or the row's hash is not that of its contents.
    """
    named = dict(headers)
    try:
        text, source = named["ce_ledgerheader"], named["ce_source"].decode()
        header = decode_header(text)
        prev_hash, stated = (bytes.fromhex(named[name].decode()) for name in ("ce_prevhash", "ce_hash"))
    except (KeyError, ValueError) as error:
        raise MalformedRecord(f"no ledger record: {error}") from error
    if value is None:
        raise MalformedRecord(f"position {header.position} has no data")
    if chain_hash(prev_hash, text, value) != stated:
        raise MalformedRecord(f"position {header.position}: its contents do not have the hash it states")
    return source, Entry(header, value, prev_hash, stated)
