"""Why the ledger is no ``bigserial`` column with a tailing reader."""

import asyncio

import asyncpg
import pytest

from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.testing.ledger_examples import SteppedClock, an_append
from tests.conformance.eventstore.cutting_proxy import CuttingProxy, Wire
from tests.conformance.eventstore.lock_waits import until_a_writer_waits_for_the_lock

pytestmark = pytest.mark.postgres


async def test_a_tail_of_a_bigserial_loses_an_event(postgres_database: str) -> None:
    slow, fast, reader = [await asyncpg.connect(postgres_database) for _ in range(3)]
    await reader.execute("CREATE TABLE naive (id bigserial PRIMARY KEY, fact text)")
    seen: list[str] = []
    last = 0

    async def read_on() -> None:
        nonlocal last
        for row in await reader.fetch("SELECT id, fact FROM naive WHERE id > $1 ORDER BY id", last):
            last = row["id"]
            seen.append(row["fact"])

    uncommitted = slow.transaction()
    await uncommitted.start()
    await slow.execute("INSERT INTO naive (fact) VALUES ('first')")  # takes id 1
    await fast.execute("INSERT INTO naive (fact) VALUES ('second')")  # takes id 2, and is committed before
    await read_on()
    await uncommitted.commit()
    await read_on()

    assert seen == ["second"], "the first is committed, and nobody will ever read it"
    assert await reader.fetchval("SELECT count(*) FROM naive") == 2
    for connection in (slow, fast, reader):
        await connection.close()


async def test_the_same_happens_to_no_reader_of_the_ledger(postgres_database: str) -> None:
    await migrate(postgres_database)
    commit_is_held, commit_may_go = asyncio.Event(), asyncio.Event()

    async def hold(wire: Wire, data: bytes) -> None:
        commit_is_held.set()
        await commit_may_go.wait()
        await wire.forward(data)

    async with CuttingProxy(postgres_database) as proxy:
        slow = await open_ledger(proxy.url, clock=SteppedClock())
        fast = await open_ledger(postgres_database, clock=SteppedClock())
        seen: list[str] = []
        last = 0

        async def read_on() -> None:
            nonlocal last
            for row in await fast.read(last, limit=99):
                last = row.header.position
                seen.append(row.header.stream)

        proxy.faults = iter([hold])
        first = asyncio.create_task(slow.append(an_append("first")))
        await commit_is_held.wait()  # position 1 is taken and not committed
        second = asyncio.create_task(fast.append(an_append("second")))
        await until_a_writer_waits_for_the_lock(postgres_database)
        await read_on()
        assert seen == []
        commit_may_go.set()
        await asyncio.gather(first, second)
        await read_on()

        assert seen == ["first", "second"]
        await slow.close()
        await fast.close()
