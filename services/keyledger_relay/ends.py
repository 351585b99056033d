"""Where a topic really ends, whether what it ends with is this ledger's, and whether it holds all before that."""

from typing import Final

import structlog
from msgspec import Struct

from keyledger.contracts.cloudevents import ledger_source
from keyledger.contracts.envelope import FIRST_PREV_HASH
from keyledger.eventlog.last_record import READ_RECORDS, READ_SECONDS, last_record
from keyledger.eventlog.port import EventLog, LogUnavailable, Record
from keyledger.eventstore.port import Ledger
from keyledger_relay.feeds import Feed

_log = structlog.get_logger(__name__)


class ForeignTopic(Exception):
    """A topic and the ledger do not tell the same story: the ledger went back to a backup, or this is another's log."""


class Place(Struct, frozen=True, gc=False):
    """A row of the ledger: its position (0: before the first) and its hash."""

    position: int
    hash: bytes


START: Final = Place(0, FIRST_PREV_HASH)


class End(Struct, frozen=True):
    """The row of the ledger that a topic ends with, and the offsets of its first record and behind its last one."""

    place: Place
    first_offset: int
    next_offset: int


async def find_end(log: EventLog, ledger: Ledger, feed: Feed, *, in_full: bool = False) -> End:
    """Return where the topic ends: at ``START`` if it is empty.

    A topic that does not hold everything before its end is emptied: an empty one is filled from the ledger.

    Args:
        log: where the topic is.
        ledger: whose topic it must be.
        feed: which of the topics.
        in_full: look at each record, because it may lack some whatever its ends look like.

    Raises:
        ForeignTopic: the topic ends with something that is not in this ledger.
        LogUnavailable, LedgerUnavailable: try again.
    """
    # The topic first: another relay may be writing, and what is on a topic is in the ledger already.
    first_offset, end_offset = await log.bounds(feed.topic, 0)
    record = await last_record(log, feed.topic)
    if record is None:
        return End(START, end_offset, end_offset)
    place = await its_row(ledger, feed, record)
    if in_full:
        furthest, why = await read_on(log, feed, first_offset, record.offset + 1, START.position)
        place = await its_row(ledger, feed, furthest or record)
    else:
        why = await _lack(log, feed, first_offset, record.offset, place.position)
    if why:
        _log.error("a topic lacks records: it is emptied, and filled again from the ledger", topic=feed.topic, why=why)
        await log.trim(feed.topic, 0, end_offset)
        return End(START, end_offset, end_offset)
    return End(place, first_offset, record.offset + 1)


async def _lack(log: EventLog, feed: Feed, first_offset: int, last_offset: int, position: int) -> str:
    """Say what shows that the topic does not hold each position from 1 on; nothing if nothing does.

    Cheap, and so not all: a hole in the middle is seen by too few offsets, unless as many records stand there twice.
    Readers find any, and ``keyledger topics refill`` mends it.
    """
    first = await _first_record(log, feed.topic, first_offset)
    if position_of(first) != 1:
        return f"it begins with position {position_of(first)}"
    if last_offset - first.offset < position - 1:
        return f"it ends at position {position}, but offsets {first.offset} to {last_offset} hold fewer records"
    return ""


async def read_on(log: EventLog, feed: Feed, start: int, end: int, position: int) -> tuple[Record | None, str]:
    """Read the offsets from ``start`` to before ``end`` as a reader does that has followed up to ``position``.

    Two relays may both be writing: the last record need not be the furthest, and what is behind is a resend.

    Returns:
        The record that took it furthest, None where none did; and what it lacked to get further, nothing if nothing.

    Raises:
        LogUnavailable, OffsetOutOfRange: try again.
    """
    reader = await log.reader(feed.topic, 0, start)
    furthest: Record | None = None
    offset = start
    try:
        while offset < end:
            records = await reader.poll(max_records=READ_RECORDS, timeout_seconds=READ_SECONDS)
            if not records:
                raise LogUnavailable(f"{feed.topic} does not give its records up to offset {end - 1}")
            for record in records:
                stated, offset = position_of(record), record.offset + 1
                if offset > end:
                    break
                if stated > position + 1:
                    return furthest, f"position {stated} stands behind {position}"
                if stated > position:
                    furthest, position = record, stated
    finally:
        await reader.close()
    return furthest, ""


def position_of(record: Record) -> int:
    """Return the position that a record states; 0 where it states none."""
    stated = dict(record.headers).get("ce_id", b"")
    return int(stated) if stated.isdigit() else 0


async def its_row(ledger: Ledger, feed: Feed, record: Record) -> Place:
    """Return the ledger's row that a topic's record was made of. Raises ForeignTopic, LedgerUnavailable."""
    named, position = dict(record.headers), position_of(record)
    source = named.get("ce_source", b"")
    if source != ledger_source(ledger.store_id).encode() or not position:
        found = f"of {source.decode(errors='replace')}" if source else "that is no ledger record"
        raise ForeignTopic(f"{feed.topic} ends with a record {found}, this ledger is {ledger_source(ledger.store_id)}")
    rows = await ledger.read(position - 1, limit=1)
    if not rows:
        head = await ledger.head()
        raise ForeignTopic(
            f"{feed.topic} ends at position {position}, the ledger at {head.position}: "
            "the ledger has lost events that were published (restored from a backup?)"
        )
    expected = dict(feed.form(rows[0], ledger.store_id)[0])
    differing = [name for name in feed.identity if named.get(name) != expected.get(name)]
    if differing:
        raise ForeignTopic(
            f"{feed.topic} ends with another position {position} than the ledger's ({', '.join(differing)} differ): "
            "the ledger was restored from a backup and went on from there"
        )
    return Place(position, rows[0].hash)


async def _first_record(log: EventLog, topic: str, first_offset: int) -> Record:
    """Return the first record of a topic that holds one."""
    reader = await log.reader(topic, 0, first_offset)
    try:
        records = await reader.poll(max_records=1, timeout_seconds=READ_SECONDS)
    finally:
        await reader.close()
    if not records:
        raise LogUnavailable(f"{topic} does not give its first record")
    return records[0]
