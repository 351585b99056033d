"""The one connection that appends, in its thread."""

import asyncio
import sqlite3
from collections.abc import Sequence
from concurrent.futures import Executor
from pathlib import Path

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
from keyledger.eventstore.port import Append, Appended, Head, LedgerNotMigrated
from keyledger.eventstore.recent import RecentRows
from keyledger.eventstore.rows import to_row
from keyledger.eventstore.sqlite import statements
from keyledger.eventstore.sqlite.connections import begin, connect, failures_told
from keyledger.eventstore.writer import CommitUncertain


class SqliteCommitter:
    """Commits batches in ``thread``: the wait for the disk must not stop the event loop."""

    def __init__(self, path: Path, thread: Executor, *, clock: Clock, arrivals: Arrivals, recent: RecentRows) -> None:
        self._path = path
        self._thread = thread
        self._clock = clock
        self._arrivals = arrivals
        self._recent = recent
        self._connection: sqlite3.Connection | None = None

    async def commit(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        """As ``writer.Committer.commit``."""
        loop = asyncio.get_running_loop()

        def commit() -> Admission:
            admission = self._commit(batch)
            # Followers are woken from here: our own waking up would be a turn of the loop more.
            loop.call_soon_threadsafe(self._committed, admission)
            return admission

        return (await loop.run_in_executor(self._thread, commit)).outcomes

    def _committed(self, admission: Admission) -> None:
        self._recent.add(admission.entries)
        self._arrivals.reached(admission.head.position)

    def close(self) -> None:
        """End the connection. Call in the thread."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _commit(self, batch: Sequence[Append]) -> Admission:
        if self._connection is None:
            self._connection = connect(self._path, synchronous="FULL")
        try:
            return self._transact(self._connection, batch)
        except BaseException:  # whatever it was: closing rolls back what has not been committed
            self.close()
            raise

    def _transact(self, connection: sqlite3.Connection, batch: Sequence[Append]) -> Admission:
        with failures_told():
            begin(connection)
            admission = admit(batch, self._known(connection, batch))
            if not admission.writes():
                connection.execute("ROLLBACK")
                return admission
            self._write(connection, admission)
        failpoints.reach("ledger.before_commit")
        try:
            failpoints.reach_meanwhile("ledger.in_commit")
            connection.execute("COMMIT")
        except sqlite3.OperationalError as error:  # a disk that is full or failing: what of it is kept, its file says
            raise CommitUncertain(f"SQLite: {error.sqlite_errorname}") from error
        failpoints.reach("ledger.after_commit")
        return admission

    def _known(self, connection: sqlite3.Connection, batch: Sequence[Append]) -> Known:
        head = connection.execute(statements.HEAD).fetchone()
        if head is None:
            raise LedgerNotMigrated("the ledger has lost its head")
        tails = {}
        for stream in streams_of(batch):
            tail = connection.execute(statements.TAIL, (stream,)).fetchone()
            if tail is not None:
                tails[stream] = Tail(*tail)
        claims = {}
        for scope in scopes_of(batch):
            claim = connection.execute(statements.CLAIM, (scope,)).fetchone()
            if claim is not None:
                claims[scope] = KeptClaim(*claim)
        return Known(Head(*head), self._clock.now(), tails, claims, _written(connection, batch, tails))

    def _write(self, connection: sqlite3.Connection, admission: Admission) -> None:
        head = admission.head
        connection.executemany(statements.INSERT_EVENT, [to_row(entry) for entry in admission.entries])
        connection.execute(statements.MOVE_HEAD, (head.position, head.hash, head.recorded_at))
        if admission.claims:
            oldest = self._clock.now() - CLAIM_LIFETIME_US
            connection.execute(statements.SWEEP_CLAIMS, (oldest, 2 * len(admission.claims)))
            connection.executemany(statements.KEEP_CLAIM, [astuple(claim) for claim in admission.claims])
        if admission.profiles:
            connection.executemany(statements.KEEP_PROFILE, [astuple(profile) for profile in admission.profiles])
        if admission.addresses:
            connection.executemany(statements.INSERT_ADDRESS, admission.addresses)


def _written(connection: sqlite3.Connection, batch: Sequence[Append], tails: dict[str, Tail]) -> dict[str, Appended]:
    written = {}
    for suspect in suspects(batch, tails):
        row = connection.execute(statements.WRITTEN, astuple(suspect)).fetchone()
        if row is not None:
            written[suspect.append_id] = Appended(*row)
    return written
