import pytest

from keyledger.eventlog.port import LogUnavailable
from keyledger.runtime.clock import SystemClock
from keyledger_standalone.serving import PRUNE_SECONDS, prune_for_ever


class EndOfTime(Exception):
    """The clock has shown what it was made for."""


class ClockOfHours(SystemClock):
    """Each sleep is over at once; after some of them the world ends."""

    def __init__(self, sleeps: int) -> None:
        self.slept = list[float]()
        self._left = sleeps

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self._left -= 1
        if not self._left:
            raise EndOfTime


class BusyLog:
    """Another process writes when it is first asked to prune."""

    def __init__(self) -> None:
        self.asked = 0

    async def prune(self) -> int:
        self.asked += 1
        if self.asked == 1:
            raise LogUnavailable("database is locked")
        return 0


async def test_a_log_that_could_not_be_pruned_is_pruned_the_next_time() -> None:
    log, clock = BusyLog(), ClockOfHours(3)
    with pytest.raises(EndOfTime):
        await prune_for_ever(log.prune, clock)
    assert log.asked == 3
    assert clock.slept == [PRUNE_SECONDS] * 3
