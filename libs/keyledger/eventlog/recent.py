"""What this process appended last, kept in memory for readers at the end: they need not wait for a thread and the file.

Only what is committed is given in here, so that no reader sees what a kill of the process could still take back.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from keyledger.eventlog.port import NewRecord, Record

KEPT_RECORDS: Final = 200
"""Whoever is further behind reads the file: there is more of it than a processor's cache holds."""
KEPT_BYTES: Final = 512 * 1024
"""Of values, in each partition."""


class _Batch(Struct, frozen=True, gc=False):
    first: int
    timestamp: int
    records: Sequence[NewRecord]
    size_bytes: int

    @property
    def end(self) -> int:
        return self.first + len(self.records)


class Recent:
    """The last batches of each partition, without a gap. For one event loop."""

    def __init__(self) -> None:
        self._batches: dict[tuple[str, int], deque[_Batch]] = {}
        self._bytes: dict[tuple[str, int], int] = {}

    def add(self, place: tuple[str, int], first: int, timestamp: int, records: Sequence[NewRecord]) -> None:
        """Keep a batch that was committed at the offset ``first``; ``timestamp`` in milliseconds."""
        batches = self._batches.setdefault(place, deque())
        if batches and batches[-1].end != first:
            batches.clear()  # another process wrote in between
            self._bytes[place] = 0
        batches.append(_Batch(first, timestamp, records, sum(len(record.value) for record in records)))
        size_bytes = self._bytes.get(place, 0) + batches[-1].size_bytes
        while batches and (size_bytes > KEPT_BYTES or batches[-1].end - batches[0].first > KEPT_RECORDS):
            size_bytes -= batches.popleft().size_bytes
        self._bytes[place] = size_bytes

    def read(self, place: tuple[str, int], offset: int, max_records: int) -> list[Record]:
        """Return records from the offset on; none where the file has to be asked."""
        batches = self._batches.get(place)
        if not batches or not batches[0].first <= offset < batches[-1].end:
            return []
        topic, partition = place
        found: list[Record] = []
        for batch in batches:
            skipped = max(0, offset - batch.first)
            for number, new in enumerate(batch.records[skipped:], batch.first + skipped):
                if len(found) == max_records:
                    return found
                found.append(Record(topic, partition, number, batch.timestamp, new.key, new.value, new.headers))
        return found

    def forget(self) -> None:
        """Keep nothing: some of it may have been deleted."""
        self._batches.clear()
        self._bytes.clear()
