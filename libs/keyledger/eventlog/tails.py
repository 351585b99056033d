"""Where each partition ends, and who waits for it to grow."""

import asyncio

from keyledger.eventlog.logfile import Ends


class Tails:
    """Known ends of partitions: they only rise, and whoever waits at one is woken at once. For one event loop."""

    def __init__(self) -> None:
        self._ends: Ends = {}
        self._waiters: dict[tuple[str, int], set[asyncio.Future[None]]] = {}

    def end(self, place: tuple[str, int]) -> int | None:
        """Return the offset that is known to come next, None where nothing is known yet."""
        return self._ends.get(place)

    def advance(self, ends: Ends) -> None:
        """Take note of ends, of which some may be old news, and wake who waits there."""
        for place, end in ends.items():
            if end > self._ends.get(place, -1):
                self._ends[place] = end
                for waiter in self._waiters.pop(place, ()):
                    if not waiter.done():
                        waiter.set_result(None)

    def fail(self, error: Exception) -> None:
        """Let everybody who waits have the error: they would wait for what nobody can tell them."""
        waiters = [waiter for waiting in self._waiters.values() for waiter in waiting]
        self._waiters.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(error)

    async def reached(self, place: tuple[str, int], offset: int, timeout_seconds: float) -> bool:
        """Say whether the partition holds the offset, waiting up to the timeout. Raises what ``fail`` was given."""
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._ends.get(place, 0) <= offset:
                    await self._growth(place)
        except TimeoutError:
            return False
        return True

    async def _growth(self, place: tuple[str, int]) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiting = self._waiters.setdefault(place, set())
        waiting.add(waiter)
        try:
            await waiter
        finally:
            waiting.discard(waiter)
