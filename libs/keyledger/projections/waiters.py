"""Those who wait until a position is applied."""

import asyncio
from bisect import bisect_left, insort
from typing import Final

from keyledger.contracts.ports import Clock

MAX_WAITERS: Final = 1_000


class Waiters:
    """Wakes everybody whose position was reached, without polling. At most ``max_waiters`` wait at a time."""

    def __init__(self, clock: Clock, *, max_waiters: int = MAX_WAITERS) -> None:
        self._clock, self._max_waiters = clock, max_waiters
        self._position = 0
        self._arrivals = 0
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    def __len__(self) -> int:
        return len(self._waiting)

    def advance(self, position: int) -> None:
        """Wake those who wait for ``position`` or less."""
        self._position = position
        reached = bisect_left(self._waiting, (position + 1,))
        for _, _, woken in self._waiting[:reached]:
            if not woken.done():
                woken.set_result(None)
        del self._waiting[:reached]

    async def wait_for(self, position: int, *, timeout_seconds: float, always: bool = False) -> bool:
        """Return True once ``position`` is reached; False after the timeout, or at once when too many wait already.

        ``always``: wait however many do.
        """
        if position <= self._position:
            return True
        if len(self._waiting) >= self._max_waiters and not always:
            return False
        woken = asyncio.get_running_loop().create_future()
        self._arrivals += 1  # makes each entry unique, so that futures are never compared
        mine = (position, self._arrivals, woken)
        insort(self._waiting, mine)
        timer = asyncio.ensure_future(self._clock.sleep(timeout_seconds))
        try:
            await asyncio.wait({woken, timer}, return_when=asyncio.FIRST_COMPLETED)
            return woken.done()
        finally:
            timer.cancel()
            if not woken.done():
                self._waiting.remove(mine)
