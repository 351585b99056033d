"""The log's port: ordered records in the partitions of a topic, read by offset."""

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from keyledger.contracts.cloudevents import Headers
from keyledger.contracts.topics import Topic


class NewRecord(Struct, frozen=True, array_like=True, gc=False):
    """What a producer hands over. Headers are CloudEvents attributes (``contracts.cloudevents``)."""

    # An array, since the embedded log keeps it as it is: another order of the fields is another format of its file.
    key: bytes | None
    value: bytes
    headers: Headers = ()


class Record(Struct, frozen=True, gc=False):
    """What a reader gets. Offsets rise within a partition, not always by one; ``timestamp`` is in milliseconds."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers


class LogUnavailable(Exception):
    """The log cannot be reached now. Nothing is known to be lost; try again."""


class TopicMismatch(Exception):
    """A topic exists with other settings than it must have: someone has to look."""


class OffsetOutOfRange(Exception):
    """The asked offset is no longer, or not yet, held: records were deleted, or the topic was made anew."""


class Producer(Protocol):
    """Writes in order. A batch is acknowledged as a whole: durable on Kafka's replicas or the embedded file."""

    async def send(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        """Append the records in this order, without duplicates by retries; return the offset of the last.

        Raises:
            LogUnavailable: not acknowledged in time; the records may or may not be there.
        """
        ...

    async def close(self) -> None: ...


class Reader(Protocol):
    """Reads one partition from an offset. Keeps its place in memory only: who needs it later writes it down."""

    async def poll(self, *, max_records: int, timeout_seconds: float) -> list[Record]:
        """Return what is there, waiting for the first record up to the timeout; an empty list when none came.

        Raises:
            LogUnavailable: the log cannot be reached; the place is kept, poll again.
            OffsetOutOfRange: the place does not exist.
        """
        ...

    async def close(self) -> None: ...


class EventLog(Protocol):
    """A broker, or a file that behaves like one."""

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        """Create what is missing and check what is there. Raises TopicMismatch, LogUnavailable."""
        ...

    async def producer(self) -> Producer:
        """Return a new idempotent, ordered producer (acks from all in-sync replicas, no linger)."""
        ...

    async def reader(self, topic: str, partition: int, offset: int) -> Reader:
        """Return a reader whose first record is the first one at or after ``offset``."""
        ...

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Return (the first offset held, the offset the next record will get)."""
        ...

    async def trim(self, topic: str, partition: int, before: int) -> None:
        """Delete what stands before the offset ``before`` (the partition's end at most); offsets go on as they were.

        Raises:
            LogUnavailable: it is not known to be done; try again.
        """
        ...

    async def close(self) -> None: ...
