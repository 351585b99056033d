"""Time and randomness of a simulated process."""

import asyncio
from random import Random

from keyledger.domain.identifiers import Kind, resource_id
from tests.simulation.faults import World


class SimulatedClock:
    """One machine's clock: the virtual time, and how far (us) it is off."""

    def __init__(self, world: World, *, off: int = 0) -> None:
        self._world = world
        self.off = off
        self.said: dict[int, float] = {}
        """What it said, and at which virtual second."""

    def now(self) -> int:
        time = true_time(self._world) + self.off
        self.said[time] = self._world.now()
        return time

    def monotonic(self) -> float:
        return self._world.now()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


def true_time(world: World) -> int:
    """Return the time (us) that a clock without fault would say."""
    return world.epoch + round(world.now() * 1_000_000)


class SeededRandomness:
    """Ids and secrets that the same seed gives again."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._issued = 0

    def resource_id(self, kind: Kind) -> str:
        self._issued += 1
        return resource_id(kind, self._issued)

    def token_hex(self, size_bytes: int) -> str:
        return self.token_bytes(size_bytes).hex()

    def token_bytes(self, size_bytes: int) -> bytes:
        return self._random.randbytes(size_bytes)
