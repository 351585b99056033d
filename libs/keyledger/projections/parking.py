"""Seeing to what is parked: it is told as an alert, and tried again when somebody asks for it."""

import logging
from typing import Final, Generic, NoReturn

from keyledger.contracts.cloudevents import MalformedRecord
from keyledger.contracts.ports import Clock
from keyledger.eventlog.port import EventLog, LogUnavailable, OffsetOutOfRange
from keyledger.projections.announcing import announce
from keyledger.projections.committed import Committed
from keyledger.projections.order import GapInLedger
from keyledger.projections.port import ReadModel, ReadModelUnavailable, Row
from keyledger.projections.waiting_events import WaitingEvents

TEND_SECONDS: Final = 1.0
"""How often, while something is parked, it is looked whether somebody asked for another try."""

_log = logging.getLogger(__name__)


class Parking(Generic[Row]):
    """Tends the parked streams of one read model, beside whoever follows the log for it."""

    def __init__(
        self,
        name: str,
        committed: Committed[Row],
        read_model: ReadModel[Row],
        log: EventLog,
        *,
        topic: str,
        clock: Clock,
    ) -> None:
        self._name, self._committed, self._read_model = name, committed, read_model
        self._event_log, self._topic, self._clock = log, topic, clock
        self._to_retry: set[str] = set()

    def try_all_again(self) -> None:
        """Have all that is parked now tried again at the next look."""
        self._to_retry.update(self._committed.parked)

    async def run(self) -> NoReturn:
        """See to what is parked, if anything is, until cancelled. Raises CheckpointMoved, ForeignHistory."""
        while True:
            await self._committed.something_parked.wait()
            try:
                await self._tend()
            except (LogUnavailable, ReadModelUnavailable, OffsetOutOfRange, GapInLedger, MalformedRecord) as error:
                _log.warning("projection %s cannot try again what is parked: %s", self._name, error)
            await self._clock.sleep(TEND_SECONDS)

    async def _tend(self) -> None:
        async with self._committed.turn:
            if not self._committed.known:
                await self._committed.look()
        if self._committed.unannounced:
            await self._announce()
        self._to_retry |= await self._read_model.take_retry_requests()
        if self._to_retry:
            await self._retry()
            self._to_retry.clear()

    async def _announce(self) -> None:
        unannounced = self._committed.unannounced
        told = list(unannounced.values())
        try:
            await announce(self._event_log, self._name, told)
        except LogUnavailable as error:
            _log.warning("projection %s could not say that it parked something: %s", self._name, error)
        else:
            for mark in told:
                if unannounced[mark.stream] is mark:  # else it was parked anew meanwhile, elsewhere
                    del unannounced[mark.stream]

    async def _retry(self) -> None:
        """Fold the waiting events of these streams, up to where the read model is, while it goes on being filled."""
        committed = self._committed
        parked = {stream: committed.parked[stream] for stream in self._to_retry if stream in committed.parked}
        if not parked:
            return
        async with WaitingEvents(self._event_log, self._topic, parked) as waiting:
            await waiting.read_to(committed.position)
            async with committed.turn:
                # What came meanwhile is little. Nothing more can come before this is committed.
                committed.must_be_known()
                await waiting.read_to(committed.position)
                await committed.try_again(parked, waiting.steps)
