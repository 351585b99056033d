"""A read model whose database goes away."""

import asyncio
import socket
import threading

import pytest
from sqlalchemy import text

from keyledger.contracts.topics import LEDGER
from keyledger.projections.port import Checkpoint, ReadModelUnavailable
from keyledger.projections.runner import ProjectionRunner
from keyledger.projections.sql import open_engine
from keyledger.runtime.clock import SystemClock
from keyledger_directory.projector import KeyDirectory
from tests.integration.directory.projector_process import store_at
from tests.unit.projections.following import DEADLINE_SECONDS, log_of, running
from tests.unit.projections.written import created, key_id, records, rotated, written

CUT = text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> :me")


async def test_a_database_where_nobody_listens_is_unavailable_and_its_password_is_not_told() -> None:
    with socket.socket() as taken:  # bound and not listening: refuses
        taken.bind(("127.0.0.1", 0))
        store = store_at(f"postgresql://keyledger:secret@127.0.0.1:{taken.getsockname()[1]}/keyledger")
        with pytest.raises(ReadModelUnavailable) as lost:
            await store.prepare()
    assert "secret" not in str(lost.value)
    await store.close()


async def test_a_file_that_cannot_be_opened_is_unavailable() -> None:
    before = set(threading.enumerate())
    store = store_at("sqlite:////nowhere/directory.db")
    with pytest.raises(ReadModelUnavailable):
        await store.prepare()
    await store.close()
    # aiosqlite's thread ends by itself after a failed connect, but speaks to the loop once more before it does.
    for thread in set(threading.enumerate()) - before:
        await asyncio.to_thread(thread.join, DEADLINE_SECONDS)


@pytest.mark.parametrize(
    "url", ["mysql://me:secret@host/db", "me:secret@host", "", "postgresql+psycopg://a:secret@b/c"]
)
def test_an_address_of_no_database_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="postgresql://") as refused:
        open_engine(url)
    assert "secret" not in str(refused.value)


@pytest.mark.postgres
@pytest.mark.parametrize("query", ["", "?sslmode=prefer&target_session_attrs=any"])
async def test_an_address_of_the_ledger_serves_a_read_model_too(postgres_database: str, query: str) -> None:
    store = store_at(postgres_database + query)
    await store.prepare()
    assert await store.checkpoint() == Checkpoint()
    await store.close()


@pytest.mark.postgres
async def test_connections_that_are_cut_cost_nothing_but_time(postgres_database: str) -> None:
    entries = written(*(created(n) for n in range(50)), *(rotated(n) for n in range(50))).entries
    log = await log_of(records(entries[:1]))
    store = store_at(postgres_database)
    await store.prepare()
    runner = ProjectionRunner(KeyDirectory(), store, log, clock=SystemClock(), max_batch=10)
    operator = open_engine(postgres_database)
    async with running(runner), operator.connect() as connection:
        assert await runner.wait_for(1, timeout_seconds=DEADLINE_SECONDS)
        me = (await connection.execute(text("SELECT pg_backend_pid()"))).scalar_one()
        for position in range(1, len(entries)):
            if position % 25 == 0:
                await connection.execute(CUT, {"me": me})
                await connection.commit()  # within one transaction Postgres would show the same processes again
            await log.append(LEDGER.name, 0, records(entries[position : position + 1]))
            assert await runner.wait_for(position + 1, timeout_seconds=DEADLINE_SECONDS)
    assert runner.counts.read_model_retries >= 3
    async with store.transaction() as rows:
        found = await rows.load([key_id(n) for n in range(50)])
    assert [found[key_id(n)].version for n in range(50)] == [2] * 50
    await operator.dispose()
    await store.close()
