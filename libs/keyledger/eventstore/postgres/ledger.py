"""The ledger's port, on Postgres."""

import asyncio
import logging
from collections.abc import Collection, Mapping
from typing import Final, Self

from keyledger.contracts.envelope import Entry
from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import KeptClaim, replay_of
from keyledger.eventstore.arrivals import Arrivals, wait_up_to
from keyledger.eventstore.checking import can_exist, check_claim
from keyledger.eventstore.migrations import REVISION, VERSION_TABLE
from keyledger.eventstore.port import (
    Append,
    Appended,
    CheckpointMoved,
    Head,
    IdempotencyClaim,
    LedgerNotMigrated,
    LedgerUnavailable,
    Profile,
    Replayed,
)
from keyledger.eventstore.postgres import statements
from keyledger.eventstore.postgres.committing import PostgresCommitter
from keyledger.eventstore.postgres.connections import Pool, borrowed, listening, open_pool
from keyledger.eventstore.rows import SELECT, behind, to_entry
from keyledger.eventstore.writer import GroupCommit

POLL_SECONDS: Final = 1.0
"""How often the head is read although no notification came: none is kept for who is not connected."""

_log: Final = logging.getLogger(__name__)


class PostgresLedger:
    """A ledger that several processes may write at the same time."""

    def __init__(self, url: str, pool: Pool, store_id: str, *, clock: Clock) -> None:
        self.store_id = store_id
        self._url = url
        self._pool = pool
        self._clock = clock
        self._channel = f"keyledger_{store_id}"
        self._arrivals = Arrivals(clock)
        self._committer = PostgresCommitter(url, channel=self._channel, clock=clock, arrivals=self._arrivals)
        self._writer = GroupCommit(self._committer, clock=clock)
        self._watch: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, url: str, *, clock: Clock) -> Self:
        """Return the ledger at ``url``. Raises LedgerNotMigrated, LedgerUnavailable."""
        pool = await open_pool(url)
        try:
            return cls(url, pool, await _store_id(pool), clock=clock)
        except BaseException:
            pool.terminate()
            raise

    async def append(self, append: Append) -> Appended | Replayed:
        return await self._writer.append(append)

    async def find_replay(self, claim: IdempotencyClaim) -> Replayed | None:
        check_claim(claim)
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow("SELECT * FROM idempotency WHERE scope = $1", claim.scope)
        return replay_of(claim, KeptClaim(*row) if row else None, self._clock.now())

    async def load(self, streams: Collection[str], *, known: Mapping[str, int] = {}) -> dict[str, list[Entry]]:
        loaded: dict[str, list[Entry]] = {stream: [] for stream in streams}
        asked = list(filter(can_exist, loaded))
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(statements.STREAMS, asked, [known.get(stream, 1) for stream in asked])
        for row in rows:
            entry = to_entry(row)
            loaded[entry.header.stream].append(entry)
        return loaded

    async def streams(self, prefix: str, *, after: str = "", limit: int) -> list[str]:
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(statements.NAMES, max(prefix, after), behind(prefix), limit)
        return [row[0] for row in rows]

    async def read(self, after: int, *, limit: int) -> list[Entry]:
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(f"{SELECT} WHERE position > $1 ORDER BY position LIMIT $2", after, limit)
        return [to_entry(row) for row in rows]

    async def head(self) -> Head:
        async with borrowed(self._pool) as connection:
            row = await connection.fetchrow("SELECT position, hash, recorded_at FROM ledger_head")
        if row is None:
            raise LedgerNotMigrated("the ledger has lost its head")
        return Head(*row)

    async def wait_beyond(self, position: int, *, timeout_seconds: float) -> None:
        if self._watch is not None and self._watch.done():
            self._watch.result()  # it ends by a mistake of ours only: say so, instead of waiting in vain
        if self._watch is None:  # only who waits needs the connection
            self._watch = asyncio.create_task(self._watch_head(), name="ledger-listener")
        await self._arrivals.wait_beyond(position, timeout_seconds=timeout_seconds)

    async def profiles(self, user_ids: Collection[str]) -> dict[str, Profile]:
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT user_id, name, email FROM profiles WHERE user_id = ANY($1)", list(filter(can_exist, user_ids))
            )
        return {row[0]: Profile(*row) for row in rows}

    async def addresses(self, positions: Collection[int]) -> dict[int, str]:
        async with borrowed(self._pool) as connection:
            rows = await connection.fetch(
                "SELECT position, address FROM event_addresses WHERE position = ANY($1)", list(positions)
            )
        return {row[0]: row[1] for row in rows}

    async def erase(self, user_id: str) -> None:
        async with borrowed(self._pool) as connection:
            await connection.execute(
                "WITH forgotten AS (DELETE FROM profiles WHERE user_id = $1) "
                "DELETE FROM event_addresses WHERE actor_user = $1",
                user_id,
            )

    async def checkpoint(self, name: str) -> int:
        async with borrowed(self._pool) as connection:
            position = await connection.fetchval("SELECT position FROM checkpoints WHERE name = $1", name)
        return position or 0

    async def move_checkpoint(self, name: str, *, expected: int, new: int) -> None:
        async with borrowed(self._pool) as connection:
            moved = await connection.fetchval(_MOVE_FIRST if expected == 0 else _MOVE, name, expected, new)
        if moved is None:
            raise CheckpointMoved(f"checkpoint {name} is not at {expected}: somebody else moved it")

    async def close(self) -> None:
        await self._writer.close()
        await self._committer.close()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
        await self._pool.close()

    async def _watch_head(self) -> None:
        """Hear of every commit, and read the head each second; with a new connection whenever one is lost."""
        while True:
            lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            try:
                async with listening(self._url, self._channel, self._heard, lost) as connection:
                    while not lost.done():
                        self._arrivals.reached(await connection.fetchval("SELECT position FROM ledger_head"))
                        await wait_up_to(POLL_SECONDS, lost, self._clock)
            except LedgerUnavailable as error:
                _log.warning("the ledger's listener has no connection, trying again: %s", error)
            await self._clock.sleep(POLL_SECONDS / 10)

    def _heard(self, payload: str) -> None:
        self._arrivals.reached(int(payload))


_MOVE: Final = "UPDATE checkpoints SET position = $3 WHERE name = $1 AND position = $2 RETURNING position"
_MOVE_FIRST: Final = """
    INSERT INTO checkpoints (name, position) VALUES ($1, $3)
    ON CONFLICT (name) DO UPDATE SET position = $3 WHERE checkpoints.position = $2 RETURNING position
"""


async def _store_id(pool: Pool) -> str:
    async with borrowed(pool) as connection:
        if await connection.fetchval("SELECT to_regclass($1)", VERSION_TABLE) is None:
            raise LedgerNotMigrated("this database holds no ledger: run `keyledger migrate`")
        revision = await connection.fetchval(f"SELECT version_num FROM {VERSION_TABLE}")  # noqa: S608 - our own name
        if revision != REVISION:
            raise LedgerNotMigrated(f"the ledger is at revision {revision}, not {REVISION}: run `keyledger migrate`")
        store_id: str = await connection.fetchval("SELECT store_id FROM ledger_head")
    return store_id
