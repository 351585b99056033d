"""A ledger whose database may fail before or after a commit, hang, or leave a commit in doubt."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeVar

from keyledger.contracts.envelope import Entry
from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import Outcome, replay_of
from keyledger.eventstore.arrivals import Arrivals
from keyledger.eventstore.port import (
    Append,
    Appended,
    CheckpointMoved,
    Head,
    IdempotencyClaim,
    LedgerUnavailable,
    Profile,
    Replayed,
)
from keyledger.eventstore.writer import BatchRefused, CommitUncertain, GroupCommit
from keyledger.testing.memory_ledger import MemoryStore
from tests.simulation.faults import World
from tests.simulation.loop import Process

T = TypeVar("T")

REFUSED = "refused by the database"
"""The request id of an append that ``checking`` lets pass and the database does not take."""
_LOST_NOTIFICATIONS = 0.3


class Database:
    """What stays when processes die. A commit in doubt holds the head's lock: who commits next waits for its end."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.store = MemoryStore()
        self.heights: list[tuple[float, int]] = [(0.0, 0)]
        """(virtual time, position from then on)"""
        self._in_doubt: list[Callable[[], object]] = []
        self.store.grown.append(self._grown)

    def commit(self, batch: Sequence[Append], now: int) -> Sequence[Outcome]:
        self.settle()
        if _refused(batch):
            raise BatchRefused("a value that the database does not take")
        return self.store.commit(batch, now)

    def doubt(self, batch: Sequence[Append], now: int) -> None:
        """Keep a commit whose end nobody was told; it comes by itself, or when somebody else wants the lock."""
        if not _refused(batch):
            self._in_doubt.append(lambda: self.store.commit(batch, now))
        self.world.loop.outside_at(self.world.now() + self.world.between(0.0, 3.0), self.settle)

    def settle(self) -> None:
        """Have what is in doubt come to its end: committed or rolled back."""
        ending, self._in_doubt = self._in_doubt, []
        for commit in ending:
            if self.world.chance(0.5):
                commit()

    def height_at(self, when: float) -> int:
        """Return the position that was committed at a virtual time."""
        return next((position for since, position in reversed(self.heights) if since <= when), 0)

    def _grown(self, position: int) -> None:
        if position > self.heights[-1][1]:
            self.heights.append((self.world.now(), position))


def _refused(batch: Sequence[Append]) -> bool:
    return any(append.request_id == REFUSED for append in batch)


class SimulatedLedger:
    """One process's connection: the real group commit over a committer that may fail."""

    def __init__(self, database: Database, process: Process, *, clock: Clock, writer: type[Any] = GroupCommit) -> None:
        self.store_id = database.store.store_id
        self._database, self._store, self._world = database, database.store, database.world
        self._process, self._clock = process, clock
        self._arrivals = Arrivals(clock)
        self._store.grown.append(self._notify)
        process.at_death.append(self._disconnect)
        self._writer = writer(self, clock=clock)

    async def commit(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        """As ``writer.Committer.commit``."""
        now = self._clock.now()
        detail = [append.append_id[:6] for append in batch]
        return await self._world.call(
            self._process,
            "ledger.commit",
            lambda: self._database.commit(batch, now),
            LedgerUnavailable,
            uncertain=CommitUncertain,
            doubt=lambda: self._database.doubt(batch, now),
            detail=detail,
        )

    async def append(self, append: Append) -> Appended | Replayed:
        outcome: Appended | Replayed = await self._writer.append(append)
        return outcome

    async def find_replay(self, claim: IdempotencyClaim) -> Replayed | None:
        return await self._ask(
            "find_replay", lambda: replay_of(claim, self._store.claims.get(claim.scope), self._clock.now())
        )

    async def load(self, streams: Collection[str], *, known: Mapping[str, int] = {}) -> dict[str, list[Entry]]:
        held = self._store.streams
        return await self._ask(
            "load", lambda: {one: held.get(one, [])[max(known.get(one, 1) - 1, 0) :] for one in streams}
        )

    async def streams(self, prefix: str, *, after: str = "", limit: int) -> list[str]:
        held = self._store.streams
        return await self._ask(
            "streams",
            lambda: sorted(name for name in held if name.startswith(prefix) and name > max(prefix, after))[:limit],
        )

    async def read(self, after: int, *, limit: int) -> list[Entry]:
        return await self._ask("read", lambda: self._store.entries[after : after + limit], after)

    async def head(self) -> Head:
        return await self._ask("head", lambda: self._store.head)

    async def wait_beyond(self, position: int, *, timeout_seconds: float) -> None:
        await self._arrivals.wait_beyond(position, timeout_seconds=timeout_seconds)

    async def profiles(self, user_ids: Collection[str]) -> dict[str, Profile]:
        return await self._ask(
            "profiles", lambda: {one: self._store.profiles[one] for one in user_ids if one in self._store.profiles}
        )

    async def addresses(self, positions: Collection[int]) -> dict[int, str]:
        known = self._store.addresses
        return await self._ask("addresses", lambda: {one: known[one][1] for one in positions if one in known})

    async def erase(self, user_id: str) -> None:
        def erase() -> None:
            self._store.profiles.pop(user_id, None)
            kept = {position: row for position, row in self._store.addresses.items() if row[0] != user_id}
            self._store.addresses = kept

        await self._world.call(self._process, "ledger.erase", erase, LedgerUnavailable, uncertain=LedgerUnavailable)

    async def checkpoint(self, name: str) -> int:
        return await self._ask("checkpoint", lambda: self._store.checkpoints.get(name, 0))

    async def move_checkpoint(self, name: str, *, expected: int, new: int) -> None:
        def move() -> None:
            if self._store.checkpoints.get(name, 0) != expected:
                raise CheckpointMoved(f"checkpoint {name} is not at {expected}: somebody else moved it")
            self._store.checkpoints[name] = new

        await self._world.call(
            self._process,
            "ledger.move_checkpoint",
            move,
            LedgerUnavailable,
            uncertain=LedgerUnavailable,
            detail=(expected, new),
        )

    async def close(self) -> None:
        await self._writer.close()
        self._disconnect()

    async def _ask(self, what: str, answer: Callable[[], T], detail: object = "") -> T:
        return await self._world.call(self._process, f"ledger.{what}", answer, LedgerUnavailable, detail=detail)

    def _notify(self, position: int) -> None:
        """Have the process hear of it: soon, later, or never."""
        if not self._world.chance(_LOST_NOTIFICATIONS if self._world.odds.failure else 0.0):
            when = self._world.now() + self._world.latency()
            self._world.loop.outside_at(when, self._arrivals.reached, position)

    def _disconnect(self) -> None:
        if self._notify in self._store.grown:
            self._store.grown.remove(self._notify)
