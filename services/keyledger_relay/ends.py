"""Where a topic really ends, and whether what it ends with is this ledger's."""

from typing import Final

from msgspec import Struct

from keyledger.contracts.cloudevents import ledger_source
from keyledger.contracts.envelope import FIRST_PREV_HASH
from keyledger.eventlog.port import EventLog, Record
from keyledger.eventstore.port import Ledger
from keyledger_relay.feeds import Feed

READ_SECONDS: Final = 5.0
"""How long a step waits for a record that the bounds say is there."""
READ_RECORDS: Final = 1_000


class ForeignTopic(Exception):
    """A topic and the ledger do not tell the same story: the ledger went back to a backup, or this is another's log."""


class Place(Struct, frozen=True, gc=False):
    """A row of the ledger: its position (0: before the first) and its hash."""

    position: int
    hash: bytes


START: Final = Place(0, FIRST_PREV_HASH)


async def find_end(log: EventLog, ledger: Ledger, feed: Feed) -> Place:
    """Return the row of the ledger that the topic ends with; ``START`` for an empty topic.

    Raises:
        ForeignTopic: the topic ends with something that is not in this ledger.
        LogUnavailable, LedgerUnavailable: try again.
    """
    # The topic first: another relay may be writing, and what is on a topic is in the ledger already.
    record = await _last_record(log, feed.topic)
    if record is None:
        return START
    named = dict(record.headers)
    stated, source = named.get("ce_id", b""), named.get("ce_source", b"")
    if source != ledger_source(ledger.store_id).encode() or not stated.isdigit():
        found = f"of {source.decode(errors='replace')}" if source else "that is no ledger record"
        raise ForeignTopic(f"{feed.topic} ends with a record {found}, this ledger is {ledger_source(ledger.store_id)}")
    position = int(stated)
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


async def _last_record(log: EventLog, topic: str) -> Record | None:
    """Return the last record of partition 0, stepping back over offsets that hold none (transaction markers)."""
    step = 1
    while True:
        # Asked anew at each step: a log that went away says so here, instead of looking like an empty one.
        first, end = await log.bounds(topic, 0)
        if first >= end:
            return None
        start = max(first, end - step)
        found = await _last_from(log, topic, start, end)
        if found is not None or start == first:
            return found
        step *= 64


async def _last_from(log: EventLog, topic: str, start: int, end: int) -> Record | None:
    reader = await log.reader(topic, 0, start)
    last: Record | None = None
    try:
        while last is None or last.offset < end - 1:
            records = await reader.poll(max_records=READ_RECORDS, timeout_seconds=READ_SECONDS)
            if not records:
                return last
            last = records[-1]
    finally:
        await reader.close()
    return last
