"""Who waits for the ledger to grow."""

import asyncio

from keyledger.contracts.ports import Clock


async def wait_up_to(seconds: float, happened: asyncio.Future[None], clock: Clock) -> None:
    """Return when ``happened`` is done, at the latest after ``seconds`` of the clock's time."""
    sleeper = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait({happened, sleeper}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        sleeper.cancel()


class Arrivals:
    """The highest position known in this process, and those who wait for a higher one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._position = 0
        self._waiting: dict[asyncio.Future[None], int] = {}

    def reached(self, position: int) -> None:
        """The ledger holds ``position``: wake those who wait for something beyond a lower one."""
        if position <= self._position:
            return
        self._position = position
        for waiter, beyond in self._waiting.items():
            if beyond < position and not waiter.done():
                waiter.set_result(None)

    def awaited(self) -> bool:
        """Say whether anybody waits."""
        return bool(self._waiting)

    async def wait_beyond(self, position: int, *, timeout_seconds: float) -> None:
        """As ``port.Ledger.wait_beyond``."""
        if self._position > position:
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[waiter] = position
        sleeper = asyncio.ensure_future(self._clock.sleep(timeout_seconds))
        # Not ``wait_up_to``: it takes a turn of the loop more, and a revocation waits for each.
        sleeper.add_done_callback(lambda _: None if waiter.done() else waiter.set_result(None))
        try:
            await waiter
        finally:
            sleeper.cancel()
            del self._waiting[waiter]
