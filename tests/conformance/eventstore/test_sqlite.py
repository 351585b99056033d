import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import CLAIM_LIFETIME_US
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Ledger, LedgerNotMigrated, LedgerUnavailable, MalformedAppend, OutcomeUnknown
from keyledger.eventstore.rows import COLUMNS
from keyledger.eventstore.sqlite.ledger import SqliteLedger, refuse_older
from keyledger.eventstore.verifying import verify_chain
from keyledger.testing.ledger_examples import SteppedClock, a_claim, an_append, together
from keyledger.testing.ledger_suite import LedgerSuite, Opener
from tests.full_disk import no_room_beyond

CHANGES = [
    "UPDATE events SET data = x'00' WHERE position = 1",
    "DELETE FROM events WHERE position = 2",
    "INSERT OR REPLACE INTO events SELECT * FROM events",
    f"INSERT OR REPLACE INTO events SELECT 9, {', '.join(COLUMNS[1:])} FROM events",  # noqa: S608 - our own names
    "UPDATE ledger_head SET position = 1",
    "UPDATE ledger_head SET position = 3, recorded_at = 0",
    "UPDATE ledger_head SET position = 3, store_id = 'another'",
    "DELETE FROM ledger_head",
    "INSERT OR REPLACE INTO ledger_head VALUES (1, 'another', 0, x'00', 0)",
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


class TestSqliteLedger(LedgerSuite):
    @pytest.fixture
    async def opener(self, path: Path) -> Opener:
        await migrate(f"sqlite:///{path}")

        async def open_sqlite(clock: Clock) -> Ledger:
            return await open_ledger(f"sqlite:///{path}", clock=clock)

        return open_sqlite

    @pytest.mark.parametrize("change", CHANGES)
    async def test_what_is_written_can_not_be_changed(self, ledger: Ledger, path: Path, change: str) -> None:
        await ledger.append(an_append("a"))
        await ledger.append(an_append("b"))
        with (
            closing(sqlite3.connect(path, isolation_level=None)) as connection,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            connection.execute(change)
        assert (await verify_chain(ledger)).position == 2

    async def test_old_claims_are_swept_by_new_ones(self, ledger: Ledger, clock: SteppedClock, path: Path) -> None:
        await together(ledger, *(an_append(f"old-{n}", idempotency=a_claim(b"old-%d" % n)) for n in range(5)))
        clock.time += CLAIM_LIFETIME_US
        await together(ledger, *(an_append(f"new-{n}", idempotency=a_claim(b"new-%d" % n)) for n in range(2)))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("SELECT count(*) FROM idempotency").fetchone() == (5 - 4 + 2,)

    async def test_an_event_whose_claim_cannot_be_kept_is_not_written(self, ledger: Ledger, path: Path) -> None:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(
                "CREATE TRIGGER no_claims BEFORE INSERT ON idempotency BEGIN SELECT RAISE(ABORT, 'full'); END"
            )
        with pytest.raises(MalformedAppend):
            await ledger.append(an_append("a", idempotency=a_claim()))
        assert await ledger.read(0, limit=9) == [], "else a repeated request would be carried out twice"

    async def test_a_mark_that_a_full_disk_refuses_can_be_moved_when_there_is_room(
        self, ledger: Ledger, path: Path
    ) -> None:
        await ledger.move_checkpoint("relay", expected=0, new=1)
        with no_room_beyond(Path(f"{path}-wal")), pytest.raises(OutcomeUnknown):
            await ledger.move_checkpoint("relay", expected=1, new=2)
        await ledger.move_checkpoint("relay", expected=await ledger.checkpoint("relay"), new=3)
        assert await ledger.checkpoint("relay") == 3

    async def test_an_answered_append_is_on_the_disk(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a"))
        assert isinstance(ledger, SqliteLedger)
        connection = ledger._committer._connection  # noqa: SLF001 - the very connection that commits
        assert connection is not None
        assert connection.execute("PRAGMA synchronous").fetchone() == (2,)  # FULL
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)


class AsOlder:
    """``group_concat`` as SQLite had it: the result ends at the first zero byte."""

    def __init__(self) -> None:
        self._joined = b""

    def step(self, value: bytes, _: str) -> None:
        self._joined += value

    def finalize(self) -> bytes:
        return self._joined.partition(b"\0")[0]


def test_an_sqlite_that_would_cut_the_bytes_of_a_page_is_refused() -> None:
    with closing(sqlite3.connect(":memory:")) as connection:
        refuse_older(connection)
        connection.create_aggregate("group_concat", 2, AsOlder)  # type: ignore[arg-type] # mypy knows one, of int
        with pytest.raises(LedgerUnavailable, match="too old"):
            refuse_older(connection)


async def test_a_missing_file_is_not_made_by_opening_it(path: Path) -> None:
    with pytest.raises(LedgerNotMigrated, match="run `keyledger migrate`"):
        await open_ledger(f"sqlite:///{path}", clock=SteppedClock())
    assert not await asyncio.to_thread(path.exists)


async def test_a_ledger_of_another_revision_is_not_opened(path: Path) -> None:
    await migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE ledger_revision SET version_num = '0000'")
    with pytest.raises(LedgerNotMigrated, match="run `keyledger migrate`"):
        await open_ledger(f"sqlite:///{path}", clock=SteppedClock())
