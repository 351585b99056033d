"""The last record of a topic."""

from typing import Final

from keyledger.eventlog.port import EventLog, Record

READ_SECONDS: Final = 5.0
"""How long a step waits for a record that the bounds say is there."""
READ_RECORDS: Final = 1_000


async def last_record(log: EventLog, topic: str) -> Record | None:
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
