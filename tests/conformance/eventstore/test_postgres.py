import asyncio

import asyncpg
import pytest

from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import CLAIM_LIFETIME_US
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Appended, Ledger, LedgerNotMigrated, LedgerUnavailable
from keyledger.eventstore.postgres.ledger import PostgresLedger
from keyledger.eventstore.verifying import verify_chain
from keyledger.testing.ledger_examples import SteppedClock, a_claim, an_append, together
from keyledger.testing.ledger_suite import PATIENCE_SECONDS, LedgerSuite, Opener

pytestmark = pytest.mark.postgres

CHANGES = [
    "UPDATE events SET data = '' WHERE position = 1",
    "DELETE FROM events WHERE position = 2",
    "TRUNCATE events",
    "SET session_replication_role = replica; DELETE FROM events",
    "INSERT INTO events SELECT * FROM events ON CONFLICT (position) DO UPDATE SET data = ''",
    "UPDATE ledger_head SET position = 1",
    "UPDATE ledger_head SET position = 3, recorded_at = 0",
    "UPDATE ledger_head SET position = 3, store_id = 'another'",
    "DELETE FROM ledger_head",
    "TRUNCATE ledger_head",
]


class TimelessClock(SteppedClock):
    """Nobody who sleeps by it wakes again: what happens, happens because it was signalled."""

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002 - however long
        await asyncio.get_running_loop().create_future()


async def end_connections(url: str, application: str) -> int:
    connection = await asyncpg.connect(url)
    try:
        ended = await connection.fetch(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = $1",
            application,
        )
    finally:
        await connection.close()
    return len(ended)


class TestPostgresLedger(LedgerSuite):
    @pytest.fixture
    async def opener(self, postgres_database: str) -> Opener:
        await migrate(postgres_database)

        async def open_postgres(clock: Clock) -> Ledger:
            return await open_ledger(postgres_database, clock=clock)

        return open_postgres

    @pytest.mark.parametrize("change", CHANGES)
    async def test_what_is_written_can_not_be_changed(
        self, ledger: Ledger, postgres_database: str, change: str
    ) -> None:
        await ledger.append(an_append("a"))
        await ledger.append(an_append("b"))
        connection = await asyncpg.connect(postgres_database)
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            await connection.execute(change)
        await connection.close()
        assert (await verify_chain(ledger)).position == 2

    async def test_old_claims_are_swept_by_new_ones(
        self, ledger: Ledger, clock: SteppedClock, postgres_database: str
    ) -> None:
        await together(ledger, *(an_append(f"old-{n}", idempotency=a_claim(b"old-%d" % n)) for n in range(5)))
        clock.time += CLAIM_LIFETIME_US
        scopes = [b"new-0", b"old-3"]  # an old one that is claimed anew is replaced, not swept
        await together(ledger, *(an_append(f"{scope!r}", idempotency=a_claim(scope)) for scope in scopes))
        connection = await asyncpg.connect(postgres_database)
        assert await connection.fetchval("SELECT count(*) FROM idempotency WHERE scope = ANY($1)", scopes) == 2
        assert await connection.fetchval("SELECT count(*) FROM idempotency") == 2
        await connection.close()

    async def test_a_waiter_hears_of_another_process_without_any_poll(self, opener: Opener) -> None:
        waiter, writer = await opener(TimelessClock()), await opener(SteppedClock())
        waiting = asyncio.create_task(waiter.wait_beyond(1, timeout_seconds=3_600))
        async with asyncio.timeout(PATIENCE_SECONDS):
            version = 0
            while not waiting.done():  # it listens from some moment on, which shows in nothing but this
                await writer.append(an_append("a", version))
                version += 1
        await waiter.close()
        await writer.close()

    async def test_a_waiter_survives_the_loss_of_its_listener(
        self, ledger: Ledger, opener: Opener, postgres_database: str
    ) -> None:
        await ledger.append(an_append("a"))
        await ledger.wait_beyond(0, timeout_seconds=3_600)
        waiting = asyncio.create_task(ledger.wait_beyond(1, timeout_seconds=3_600))
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not await end_connections(postgres_database, "keyledger-ledger-listener"):
                pass
            other = await opener(SteppedClock())
            await other.append(an_append("b"))
            await waiting
        await other.close()

    async def test_a_waiter_whose_notification_was_lost_is_woken_all_the_same(
        self, ledger: Ledger, opener: Opener, postgres_database: str
    ) -> None:
        other = await opener(SteppedClock())
        async with asyncio.timeout(PATIENCE_SECONDS):
            listening = asyncio.create_task(ledger.wait_beyond(1, timeout_seconds=3_600))
            while not listening.done():
                await other.append(an_append("a", (await other.head()).position))
            head = await other.head()
            waiting = asyncio.create_task(ledger.wait_beyond(head.position, timeout_seconds=3_600))
            connection = await asyncpg.connect(postgres_database)
            await connection.execute("UPDATE ledger_head SET position = position + 1")  # and nobody is told of it
            await connection.close()
            await waiting
        await other.close()

    async def test_a_lost_idle_connection_is_replaced(self, ledger: Ledger, postgres_database: str) -> None:
        await ledger.append(an_append("a"))
        for application in ("keyledger-ledger-writer", "keyledger-ledger-reader"):
            assert await end_connections(postgres_database, application) > 0
        assert await ledger.append(an_append("b")) == Appended(2, 1, (await ledger.head()).recorded_at)

    async def test_an_append_is_answered_when_it_is_durable(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a"))
        assert isinstance(ledger, PostgresLedger)
        connection = ledger._committer._connection  # noqa: SLF001 - the very connection that commits
        assert connection is not None
        assert await connection.fetchval("SHOW synchronous_commit") == "on"

    async def test_a_writer_that_is_stopped_in_its_transaction_loses_the_lock_by_itself(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a"))
        assert isinstance(ledger, PostgresLedger)
        connection = ledger._committer._connection  # noqa: SLF001 - the very connection that holds the lock
        assert connection is not None
        assert await connection.fetchval("SHOW idle_in_transaction_session_timeout") == "10s"
        assert await connection.fetchval("SHOW lock_timeout") == "5s"

    async def test_a_value_that_only_the_database_refuses_fails_alone(self, ledger: Ledger) -> None:
        """What ``checking`` overlooks must cost one command, not its neighbours."""
        assert isinstance(ledger, PostgresLedger)
        unchecked = [an_append("a"), an_append("nul\0"), an_append("b")]
        outcomes = await ledger._writer._commit(unchecked)  # noqa: SLF001 - below the check
        assert [type(outcome).__name__ for outcome in outcomes] == ["Appended", "MalformedAppend", "Appended"]
        assert (await verify_chain(ledger)).position == 2


async def test_an_empty_database_is_no_ledger(postgres_database: str) -> None:
    with pytest.raises(LedgerNotMigrated, match="run `keyledger migrate`"):
        await open_ledger(postgres_database, clock=SteppedClock())


@pytest.mark.parametrize("query", ["?sslmode=prefer", "?sslmode=disable&application_name=ours"])
async def test_a_url_is_understood_as_libpq_spells_it(postgres_database: str, query: str) -> None:
    await migrate(postgres_database + query)
    ledger = await open_ledger(postgres_database + query, clock=SteppedClock())
    assert (await ledger.head()).position == 0
    await ledger.close()


async def test_a_ledger_of_another_revision_is_not_opened(postgres_database: str) -> None:
    await migrate(postgres_database)
    connection = await asyncpg.connect(postgres_database)
    await connection.execute("UPDATE ledger_revision SET version_num = '0000'")
    await connection.close()
    with pytest.raises(LedgerNotMigrated, match="run `keyledger migrate`"):
        await open_ledger(postgres_database, clock=SteppedClock())


async def test_a_server_that_is_not_there_is_unavailable(unused_tcp_port: int) -> None:
    with pytest.raises(LedgerUnavailable):
        await open_ledger(f"postgresql://nobody@127.0.0.1:{unused_tcp_port}/none", clock=SteppedClock())
