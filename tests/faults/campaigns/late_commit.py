"""Transactions commit late, in another order than they began in, while somebody reads the tail."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Final

import asyncpg

from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.runtime.clock import SystemClock
from keyledger.testing.ledger_examples import an_append
from tests.conformance.eventstore.cutting_proxy import CuttingProxy, Fault, Wire
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.providers.databases import fresh_database

WRITERS: Final = 3
LONGEST_SECONDS: Final = 0.02
PAGE_ROWS: Final = 1_000

Write = Callable[[str], Awaitable[object]]
Read = Callable[[int], Awaitable[list[tuple[int, str]]]]
"""Returns what stands after a position, each with its position."""
Store = tuple[Write, Read]


async def _ledger(stage: Stage) -> Outcome:
    return await _tailed(stage, _ledger_at)


async def _bigserial(stage: Stage) -> Outcome:
    """The naive way: an outbox whose order is the order of its numbers."""
    return await _tailed(stage, _bigserial_at)


async def _tailed(stage: Stage, store_at: Callable[[str, str, AsyncExitStack], Awaitable[Store]]) -> Outcome:
    """Let writers commit, each of them late now and then, and compare what a tailing reader saw with what is there."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(fresh_database(stage.servers.postgres_url()))
        proxy = await stack.enter_async_context(CuttingProxy(database))
        outcome = Outcome()
        write, read = await store_at(database, proxy.url, stack)
        proxy.faults = _held_commits(stage, outcome)
        facts = [[f"{writer}-{number}" for number in range(stage.rounds)] for writer in range(WRITERS)]
        writing = asyncio.gather(*(_write_all(write, own) for own in facts))
        seen: list[str] = []
        last = 0
        while True:
            ended = writing.done()
            page = await read(last)
            seen += [fact for _, fact in page]
            last = page[-1][0] if page else last
            if ended and not page:
                break
        outcome.ok = sum(map(len, facts))
        missed = {fact for own in facts for fact in own} - set(seen)
        outcome.violations += [f"{fact} was committed, and the reader never saw it" for fact in sorted(missed)]
        if len(set(seen)) != len(seen):
            outcome.violations.append("the reader saw a fact twice")
        await writing
        return outcome


async def _write_all(write: Write, facts: list[str]) -> None:
    for fact in facts:
        await write(fact)


def _held_commits(stage: Stage, outcome: Outcome) -> Iterator[Fault]:
    while True:
        seconds = stage.random.uniform(0, LONGEST_SECONDS)

        async def hold(wire: Wire, data: bytes, seconds: float = seconds) -> None:
            await asyncio.sleep(seconds)
            await wire.forward(data)

        outcome.faults += 1
        yield hold


async def _ledger_at(direct: str, held: str, stack: AsyncExitStack) -> Store:
    await migrate(direct)
    ledgers = []
    for url in [held] * (WRITERS - 1) + [direct]:
        ledger = await open_ledger(url, clock=SystemClock())
        stack.push_async_callback(ledger.close)
        ledgers.append(ledger)
    reader = ledgers[-1]

    async def read(after: int) -> list[tuple[int, str]]:
        rows = await reader.read(after, limit=PAGE_ROWS)
        return [(row.header.position, row.header.stream) for row in rows]

    async def write(fact: str) -> None:
        await ledgers[int(fact[0])].append(an_append(fact))

    return write, read


async def _bigserial_at(direct: str, held: str, stack: AsyncExitStack) -> Store:
    connections = []
    for url in [held] * (WRITERS - 1) + [direct, direct]:
        connection = await asyncpg.connect(url)
        stack.push_async_callback(connection.close)
        connections.append(connection)
    reader = connections.pop()
    await reader.execute("CREATE TABLE naive (id bigserial PRIMARY KEY, fact text)")

    async def write(fact: str) -> None:
        connection = connections[int(fact[0])]
        await connection.execute("BEGIN")
        await connection.execute("INSERT INTO naive (fact) VALUES ($1)", fact)
        await connection.execute("COMMIT")

    async def read(after: int) -> list[tuple[int, str]]:
        return [tuple(row) for row in await reader.fetch("SELECT * FROM naive WHERE id > $1 ORDER BY id", after)]

    return write, read


CAMPAIGNS: Final = (
    Campaign(
        name="late-commit",
        breaks="transactions commit in another order than they began in",
        run=_ledger,
        naive=_bigserial,
        runs=20,
        rounds=100,
        budget_minutes=2.5,
        short_rounds=30,
        needs=frozenset({"postgres"}),
    ),
)
