"""A ledger in memory: the same admission and the same writer as on a database, and it passes the same suite."""

from collections.abc import Callable, Collection, Mapping, Sequence

from keyledger.contracts.envelope import FIRST_PREV_HASH, Entry
from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import (
    KeptClaim,
    Known,
    Outcome,
    Tail,
    admit,
    replay_of,
    streams_of,
    suspects,
)
from keyledger.eventstore.arrivals import Arrivals
from keyledger.eventstore.checking import check_claim
from keyledger.eventstore.port import (
    Append,
    Appended,
    CheckpointMoved,
    Head,
    IdempotencyClaim,
    Profile,
    Replayed,
)
from keyledger.eventstore.writer import GroupCommit


class MemoryStore:
    """What stays when a ``MemoryLedger`` is closed; several may be open on one store, as processes on a database."""

    def __init__(self, store_id: str = "0" * 32) -> None:
        self.store_id = store_id
        self.head = Head(0, FIRST_PREV_HASH, 0)
        self.entries: list[Entry] = []
        self.streams: dict[str, list[Entry]] = {}
        self.claims: dict[bytes, KeptClaim] = {}
        self.profiles: dict[str, Profile] = {}
        self.addresses: dict[int, tuple[str | None, str]] = {}
        self.checkpoints: dict[str, int] = {}
        self.grown: list[Callable[[int], None]] = []

    def commit(self, batch: Sequence[Append], now: int) -> Sequence[Outcome]:
        """Admit the batch and keep what comes of it."""
        tails = {stream: self._tail(stream) for stream in streams_of(batch)}
        admission = admit(batch, Known(self.head, now, tails, self.claims, self._written(batch, tails)))
        self.head = admission.head
        self.entries.extend(admission.entries)
        for entry in admission.entries:
            self.streams.setdefault(entry.header.stream, []).append(entry)
        self.claims.update((claim.scope, claim) for claim in admission.claims)
        self.profiles.update((profile.user_id, profile) for profile in admission.profiles)
        self.addresses.update((position, (user, address)) for position, user, address in admission.addresses)
        for grown in self.grown:
            grown(self.head.position)
        return admission.outcomes

    def _tail(self, stream: str) -> Tail:
        entries = self.streams.get(stream)
        if not entries:
            return Tail()
        last = entries[-1].header
        return Tail(last.version, last.position, last.recorded_at)

    def _written(self, batch: Sequence[Append], tails: dict[str, Tail]) -> dict[str, Appended]:
        written = {}
        for suspect in suspects(batch, tails):
            first, last = (
                self.streams[suspect.stream][version - 1].header for version in (suspect.first, suspect.last)
            )
            if first.append_id == suspect.append_id:
                written[suspect.append_id] = Appended(last.position, last.version, last.recorded_at)
        return written


class MemoryLedger:
    """The ledger's port, over a ``MemoryStore``. Open it in a running event loop."""

    def __init__(self, store: MemoryStore, *, clock: Clock) -> None:
        self.store_id = store.store_id
        self._store = store
        self._clock = clock
        self._arrivals = Arrivals(clock)
        self._arrivals.reached(store.head.position)
        store.grown.append(self._arrivals.reached)
        self._writer = GroupCommit(self, clock=clock)

    async def commit(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        """As ``writer.Committer.commit``."""
        return self._store.commit(batch, self._clock.now())

    async def append(self, append: Append) -> Appended | Replayed:
        return await self._writer.append(append)

    async def find_replay(self, claim: IdempotencyClaim) -> Replayed | None:
        check_claim(claim)
        return replay_of(claim, self._store.claims.get(claim.scope), self._clock.now())

    async def load(self, streams: Collection[str], *, known: Mapping[str, int] = {}) -> dict[str, list[Entry]]:
        return {stream: self._store.streams.get(stream, [])[max(known.get(stream, 1) - 1, 0) :] for stream in streams}

    async def streams(self, prefix: str, *, after: str = "", limit: int) -> list[str]:
        return sorted(name for name in self._store.streams if name.startswith(prefix) and name > max(prefix, after))[
            :limit
        ]

    async def read(self, after: int, *, limit: int) -> list[Entry]:
        return self._store.entries[after : after + limit]

    async def head(self) -> Head:
        return self._store.head

    async def wait_beyond(self, position: int, *, timeout_seconds: float) -> None:
        await self._arrivals.wait_beyond(position, timeout_seconds=timeout_seconds)

    async def profiles(self, user_ids: Collection[str]) -> dict[str, Profile]:
        return {user: self._store.profiles[user] for user in user_ids if user in self._store.profiles}

    async def addresses(self, positions: Collection[int]) -> dict[int, str]:
        known = self._store.addresses
        return {position: known[position][1] for position in positions if position in known}

    async def erase(self, user_id: str) -> None:
        self._store.profiles.pop(user_id, None)
        kept = {position: row for position, row in self._store.addresses.items() if row[0] != user_id}
        self._store.addresses = kept

    async def checkpoint(self, name: str) -> int:
        return self._store.checkpoints.get(name, 0)

    async def move_checkpoint(self, name: str, *, expected: int, new: int) -> None:
        if self._store.checkpoints.get(name, 0) != expected:
            raise CheckpointMoved(f"checkpoint {name} is not at {expected}: somebody else moved it")
        self._store.checkpoints[name] = new

    async def close(self) -> None:
        await self._writer.close()
        if self._arrivals.reached in self._store.grown:
            self._store.grown.remove(self._arrivals.reached)
