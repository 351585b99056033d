"""Each second: what the ledger held. By it a node knows how current it is, also when nothing happens."""

from typing import Final, NoReturn

import msgspec

from keyledger.contracts.cloudevents import attributes, ledger_source
from keyledger.contracts.freshness import HEAD_TYPE, Head
from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import HEADS
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord, Producer
from keyledger.eventstore.port import Ledger, LedgerUnavailable
from keyledger_relay.ends import ForeignTopic
from keyledger_relay.patience import Patience
from keyledger_relay.progress import Progress

INTERVAL_SECONDS: Final = 1.0


class Heads:
    """Publishes one head at a time: while the log is slow or away none is made, and the next one is the newest."""

    def __init__(
        self,
        ledger: Ledger,
        event_log: EventLog,
        *,
        progress: Progress,
        ledger_patience: Patience,
        log_patience: Patience,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._log = event_log
        self._progress = progress
        self._ledger_patience = ledger_patience
        self._log_patience = log_patience
        self._clock = clock

    async def run(self) -> NoReturn:
        """Publish a head each second until cancelled.

        Raises:
            ForeignTopic: the ledger holds less than was relayed from it.
        """
        # A head of a ledger that the topics are not of would call nodes fresh that follow another story.
        await self._progress.started.wait()
        while True:
            try:
                await self._beat_with_a_new_producer()
            except LogUnavailable as error:
                await self._log_patience.failed(error)
            except LedgerUnavailable as error:
                await self._ledger_patience.failed(error)

    async def _beat_with_a_new_producer(self) -> NoReturn:
        producer = await self._log.producer()
        try:
            while True:
                began = self._clock.monotonic()
                await self._beat(producer)
                await self._clock.sleep(max(0.0, began + INTERVAL_SECONDS - self._clock.monotonic()))
        finally:
            await producer.close()

    async def _beat(self, producer: Producer) -> None:
        relayed = self._progress.position
        # The time first: an event committed between the two must not be missing from a head that claims its time.
        at = self._clock.now()
        head = await self._ledger.head()
        self._ledger_patience.succeeded()
        if head.position < relayed:
            raise ForeignTopic(
                f"the ledger ends at position {head.position}, but {relayed} were relayed from it: "
                "the ledger was restored from a backup"
            )
        await producer.send(HEADS.name, 0, [head_record(self._ledger.store_id, head.position, at)])
        self._log_patience.succeeded()
        waiting = await self._ledger.read(relayed, limit=1) if head.position > relayed else []
        self._progress.see(head, waiting[0].header.recorded_at if waiting else None)


def head_record(store_id: str, position: int, at: int) -> NewRecord:
    """Return the record that says that the ledger held ``position`` at ``at`` (us)."""
    value = msgspec.json.encode(Head(store=store_id, position=position, at=at))
    headers = attributes(type=HEAD_TYPE, id=f"{position}.{at}", source=ledger_source(store_id), time=at)
    return NewRecord(store_id.encode(), value, headers)
