"""Kafka as Faust reads it: without the two ways in which it passes over records when a rebalance ends, and in pages.

Read in faust-streaming 0.15.3 and aiokafka 0.14 (infra/decisions/0007, 0014).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, assert_never

import faust
from faust.tables import TableManager
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from keyledger.eventlog.kafka_security import KafkaSecurity
from keyledger.eventlog.port import Record


class SteadyConsumer(driver.Consumer):
    """Reads every record of its partitions from the committed offset on; what was fetched together is one message."""

    transport: "SteadyTransport"

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek also where nothing is committed: else what was read there and dropped is not read again."""
        committed = await super().seek_to_committed()
        never = [tp for tp, offset in committed.items() if not offset and not self._is_changelog_tp(tp)]
        if never:
            await self._thread.seek_to_beginning(*never)
        return committed

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        # A copy: Faust empties the set while a fetch is under way, and to aiokafka an empty set means all partitions.
        found = await super()._getmany(set(active_partitions or ()), timeout)
        return {tp: page if self._is_changelog_tp(tp) else [_message(page)] for tp, page in found.items()}

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: what does not fit holds the fetcher. Faust's own way has it sleep a second once all are full."""

    def _filter_committable_offsets(self, _tps: Iterable[TP]) -> dict[TP, int]:
        written = self.transport.written()
        return {tp: offset for tp, offset in written.items() if offset and self._should_commit(tp, offset)}


class SteadyTransport(driver.Transport):
    """Kafka, read by SteadyConsumer; ``written``: the offsets that may be committed."""

    Consumer = SteadyConsumer

    def __init__(self, *args: Any, written: Callable[[], dict[TP, int]]) -> None:
        super().__init__(*args)
        self.written = written


class SteadyTables(TableManager):
    """Recovers a table from every entry of its changelog, also when another rebalance cuts the recovery short."""

    @property
    def changelog_queue(self) -> Any:
        """Without a limit: what waits for room in a full queue is put into it after it was emptied for a rebalance.

        The entries in between would then be taken for read, and an older state be gone on from.
        """
        if self._changelog_queue is None:
            self._changelog_queue = self.app.FlowControlQueue(maxsize=0, clear_on_resume=True)
        return self._changelog_queue


def _message(page: list[Any]) -> Any:
    """Return a message that stands where the page's last record does and has all of them as its value."""
    return replace(
        page[-1],
        value=[Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, r.headers) for r in page],
    )


def credentials(security: KafkaSecurity) -> Any:
    """Return Faust's form of the same; None for a plain broker."""
    options = security.options()
    match security.security_protocol:
        case "PLAINTEXT":
            return None
        case "SSL":
            return faust.SSLCredentials(context=options["ssl_context"])
        case "SASL_SSL" | "SASL_PLAINTEXT":
            return faust.SASLCredentials(
                username=security.sasl_username,
                password=security.sasl_password,
                mechanism=security.sasl_mechanism,
                ssl_context=options["ssl_context"],
            )
        case _:
            assert_never(security.security_protocol)
