"""Faust's consumer without the two ways in which it passes over records when a rebalance ends.

Read in faust-streaming 0.15.3 and aiokafka 0.14 (infra/decisions/0007).
"""

from collections.abc import Mapping
from typing import Any

from faust.transport.drivers import aiokafka as driver
from faust.types import TP


class SteadyConsumer(driver.Consumer):
    """Reads every record of its partitions from the committed offset on."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Seek also where nothing is committed: else what was read there and dropped is not read again."""
        committed = await super().seek_to_committed()
        never = [tp for tp, offset in committed.items() if not offset and not self._is_changelog_tp(tp)]
        if never:
            await self._thread.seek_to_beginning(*never)
        return committed

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:  # noqa: ASYNC109 - Faust's
        # A copy: Faust empties the set while a fetch is under way, and to aiokafka an empty set means all partitions.
        return await super()._getmany(set(active_partitions or ()), timeout)


class SteadyTransport(driver.Transport):
    """Kafka, read by SteadyConsumer."""

    Consumer = SteadyConsumer
