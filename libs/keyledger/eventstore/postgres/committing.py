"""The one connection that writes."""

from collections.abc import Sequence
from typing import Any

from msgspec.structs import astuple

from keyledger.contracts import failpoints
from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import (
    CLAIM_LIFETIME_US,
    Admission,
    KeptClaim,
    Known,
    Outcome,
    Tail,
    admit,
    scopes_of,
    streams_of,
    suspects,
)
from keyledger.eventstore.arrivals import Arrivals
from keyledger.eventstore.port import Append, Appended, Head, LedgerNotMigrated, LedgerUnavailable
from keyledger.eventstore.postgres import statements
from keyledger.eventstore.postgres.connections import (
    WRITER_SETTINGS,
    Connection,
    commit_told,
    connect,
    failures_told,
)
from keyledger.eventstore.rows import to_row


class PostgresCommitter:
    """Commits batches over a connection of its own, which it makes anew whenever it is in doubt about it."""

    def __init__(self, url: str, *, channel: str, clock: Clock, arrivals: Arrivals) -> None:
        self._url = url
        self._channel = channel
        self._clock = clock
        self._arrivals = arrivals
        self._connection: Connection | None = None

    async def commit(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        """As ``writer.Committer.commit``."""
        kept = self._connection is not None
        try:
            admission = await self._commit(batch)
        except LedgerUnavailable:
            if not kept:
                raise
            # A connection that lay idle may be long dead and nobody noticed. Nothing was written: try a new one.
            admission = await self._commit(batch)
        self._arrivals.reached(admission.head.position)
        return admission.outcomes

    async def close(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None

    async def _commit(self, batch: Sequence[Append]) -> Admission:
        connection = await self._connected()
        try:
            return await self._transact(connection, batch)
        except BaseException:  # whatever it was: the server rolls back what has not been committed
            connection.terminate()
            self._connection = None
            raise

    async def _connected(self) -> Connection:
        if self._connection is None or self._connection.is_closed():
            self._connection = await connect(self._url, application="keyledger-ledger-writer", settings=WRITER_SETTINGS)
        return self._connection

    async def _transact(self, connection: Connection, batch: Sequence[Append]) -> Admission:
        with failures_told():
            await connection.execute(statements.LOCK)
            admission = admit(batch, await self._known(connection, batch))
            if not admission.writes():
                await connection.execute(statements.ROLLBACK)
                return admission
            await self._write(connection, admission)
        failpoints.reach("ledger.before_commit")
        with commit_told():
            failpoints.reach_meanwhile("ledger.in_commit")
            await connection.execute(statements.COMMIT)
        failpoints.reach("ledger.after_commit")
        return admission

    async def _known(self, connection: Connection, batch: Sequence[Append]) -> Known:
        rows = await connection.fetch(statements.FACTS, list(streams_of(batch)), list(scopes_of(batch)))
        tails: dict[str, Tail] = {}
        claims: dict[bytes, KeptClaim] = {}
        head: Head | None = None
        for stream, version, position, recorded_at, digest, claim in rows:
            if stream is not None:
                tails[stream] = Tail(version, position, recorded_at)
            elif claim is not None:
                claims[claim[0]] = KeptClaim(*claim)
            else:
                head = Head(position, digest, recorded_at)
        if head is None:
            raise LedgerNotMigrated("the ledger has lost its head")
        return Known(head, self._clock.now(), tails, claims, await _written(connection, batch, tails))

    async def _write(self, connection: Connection, admission: Admission) -> None:
        entries = [to_row(entry) for entry in admission.entries]
        head = admission.head
        moved: tuple[Any, ...] = (entries, head.position, head.hash, head.recorded_at, self._channel)
        if not (admission.claims or admission.profiles or admission.addresses):
            await connection.execute(statements.WRITE_EVENTS, *moved)
            return
        await connection.execute(
            statements.WRITE_ALL,
            *moved,
            [astuple(claim) for claim in admission.claims],
            self._clock.now() - CLAIM_LIFETIME_US,
            [astuple(profile) for profile in admission.profiles],
            admission.addresses,
        )


async def _written(connection: Connection, batch: Sequence[Append], tails: dict[str, Tail]) -> dict[str, Appended]:
    doubtful = suspects(batch, tails)
    if not doubtful:
        return {}
    columns = zip(*((s.append_id, s.stream, s.first, s.last) for s in doubtful), strict=True)
    rows = await connection.fetch(statements.WRITTEN, *(list(column) for column in columns))
    return {append_id: Appended(position, version, at) for append_id, position, version, at in rows}
