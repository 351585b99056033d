"""The events of parked streams, read again from the log.

They are not kept in the read model: the log has them for ever, a retry is rare, and a read model that holds no digest
must not get one because of an event that nobody could read.
"""

from collections.abc import Mapping
from typing import Final, Self

from keyledger.contracts.cloudevents import read_private
from keyledger.eventlog.port import EventLog, OffsetOutOfRange, Reader, Record
from keyledger.projections.folding import Step, step_of
from keyledger.projections.order import GapInLedger
from keyledger.projections.port import Parked

PARTITION: Final = 0
MAX_BATCH: Final = 1_000
POLL_SECONDS: Final = 1.0


class WaitingEvents:
    """Reads on from the first event that waits; ``steps`` are those of the parked streams, ``position`` how far it is.

    ``parked`` must not be empty. Raises what a reader raises, MalformedRecord, and GapInLedger.
    """

    def __init__(self, log: EventLog, topic: str, parked: Mapping[str, Parked]) -> None:
        self._log, self._topic, self._parked = log, topic, parked
        first = min(parked.values(), key=lambda one: one.position)
        self._offset: int | None = first.offset
        self.position = first.position - 1
        self.steps: list[Step] = []
        self._reader: Reader | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._close()

    async def read_to(self, position: int) -> None:
        """Return once everything up to ``position`` is read."""
        while self.position < position:
            try:
                for record in await self._poll():
                    self._take(record)
            except (OffsetOutOfRange, GapInLedger):
                # A topic that was made anew has other offsets: begin with its first record, once.
                if self._offset is None:
                    raise
                self._offset = None
                await self._close()

    async def _poll(self) -> list[Record]:
        if self._reader is None:
            offset = self._offset
            if offset is None:
                offset, _ = await self._log.bounds(self._topic, PARTITION)
            self._reader = await self._log.reader(self._topic, PARTITION, offset)
        return await self._reader.poll(max_records=MAX_BATCH, timeout_seconds=POLL_SECONDS)

    def _take(self, record: Record) -> None:
        _, entry = read_private(record.headers, record.value)
        header = entry.header
        if header.position <= self.position:
            return
        if header.position > self.position + 1:
            raise GapInLedger(expected=self.position + 1, actual=header.position)
        self.position = header.position
        parked = self._parked.get(header.stream)
        if parked is not None and header.position >= parked.position:
            self.steps.append(step_of(entry, record.offset + 1, wanted=True))

    async def _close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            await reader.close()
