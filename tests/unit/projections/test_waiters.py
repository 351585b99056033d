import asyncio

from keyledger.projections.waiters import Waiters
from keyledger.runtime.clock import SystemClock

DEADLINE_SECONDS = 120.0


async def until_waiting(waiters: Waiters, number: int) -> None:
    while len(waiters) < number:  # noqa: ASYNC110 - it has no event for "one more waits", and needs none
        await asyncio.sleep(0)


async def test_who_asks_for_what_is_there_does_not_wait() -> None:
    waiters = Waiters(SystemClock())
    waiters.advance(5)
    assert await waiters.wait_for(5, timeout_seconds=0)


async def test_each_is_woken_by_its_own_position_and_by_no_earlier_one() -> None:
    waiters = Waiters(SystemClock())
    third = asyncio.create_task(waiters.wait_for(3, timeout_seconds=DEADLINE_SECONDS))
    fifth = asyncio.create_task(waiters.wait_for(5, timeout_seconds=DEADLINE_SECONDS))
    await until_waiting(waiters, 2)
    waiters.advance(4)
    assert await third
    assert not fifth.done()
    waiters.advance(7)
    assert await fifth
    assert len(waiters) == 0


async def test_who_waited_too_long_is_told_so_and_takes_no_place_any_more() -> None:
    waiters = Waiters(SystemClock())
    assert not await waiters.wait_for(1, timeout_seconds=0.01)
    assert len(waiters) == 0


async def test_who_goes_away_takes_no_place_any_more() -> None:
    waiters = Waiters(SystemClock())
    gone = asyncio.create_task(waiters.wait_for(1, timeout_seconds=DEADLINE_SECONDS))
    await until_waiting(waiters, 1)
    gone.cancel()
    await asyncio.wait({gone})
    assert len(waiters) == 0


async def test_when_too_many_wait_the_next_is_refused_at_once() -> None:
    waiters = Waiters(SystemClock(), max_waiters=2)
    waiting = [asyncio.create_task(waiters.wait_for(1, timeout_seconds=DEADLINE_SECONDS)) for _ in range(2)]
    await until_waiting(waiters, 2)
    async with asyncio.timeout(DEADLINE_SECONDS / 2):
        assert not await waiters.wait_for(1, timeout_seconds=DEADLINE_SECONDS)
    waiters.advance(1)
    assert await asyncio.gather(*waiting) == [True, True]
