"""The disk is full for a while, under load: of the whole process on SQLite, or of Postgres."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import ClientLedger, live_through, until_answered
from tests.faults.judging import judge_all, judge_ledger
from tests.faults.postgres import own_postgres
from tests.faults.processes import SERVE, Served, world_in
from tests.faults.small_disk import SmallDisk, files_may_not_grow, small_disk

WRITERS: Final = 4
MOST_REFUSED: Final = 4
"""How many writes meet the full disk, at most, before there is room again. One waits for seconds for its outcome."""


async def _everything_in_one_process(stage: Stage) -> Outcome:
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(small_disk(stage.folder / "disk", size_mb=96))
        world = await stack.enter_async_context(world_in(disk.folder))
        serve = await world.started(SERVE, KEYLEDGER_INDEX_SIZE_MB="16")
        clients = await stack.enter_async_context(ClientLedger(serve.origin, by=world.root_key))

        async def break_once() -> None:
            if stage.random.random() < 0.5:
                stage.say("no room on the disk")
                await _full(stage, disk, clients, serve)
            else:
                wal = await asyncio.to_thread(_size, Path(f"{world.data_dir}/ledger.db-wal"))
                stage.say("no room in the ledger's file")
                with files_may_not_grow(serve.process.pid, stage.random.choice((0, wal))):
                    await until_answered(clients, 0, serve, refused=stage.random.randint(1, MOST_REFUSED))

        await _broken_again_and_again(stage, clients, serve, break_once)
        return await judge_all(world, clients, faults=stage.rounds, verifier=serve, directory=serve)


async def _alone_on_postgres(stage: Stage) -> Outcome:
    async with AsyncExitStack() as stack:
        disk = stack.enter_context(small_disk(stage.folder / "disk", size_mb=192))
        postgres = await stack.enter_async_context(own_postgres(disk.folder / "postgres"))
        world = await stack.enter_async_context(world_in(stage.folder, database_url=postgres.url))
        service = await world.started("commands")
        clients = await stack.enter_async_context(ClientLedger(service.origin, by=world.root_key))

        async def break_once() -> None:
            stage.say("no room on Postgres' disk")
            await _full(stage, disk, clients, service)
            if not postgres.runs:  # it ends when it cannot even recover
                await postgres.start()

        await _broken_again_and_again(stage, clients, service, break_once)
        return await judge_ledger(world, clients, faults=stage.rounds)


async def _broken_again_and_again(
    stage: Stage, clients: ClientLedger, service: Served, break_once: Callable[[], Awaitable[None]]
) -> None:
    async def breaking() -> None:
        for _ in range(stage.rounds):
            await until_answered(clients, stage.random.randint(5, 40), service)
            await break_once()
        await until_answered(clients, 10, service)

    await live_through(clients, stage.random, breaking(), writers=WRITERS)


async def _full(stage: Stage, disk: SmallDisk, clients: ClientLedger, service: Served) -> None:
    await asyncio.to_thread(disk.fill)
    try:
        await until_answered(clients, 0, service, refused=stage.random.randint(1, MOST_REFUSED))
    finally:
        disk.free()


def _size(file: Path) -> int:
    return file.stat().st_size


CAMPAIGNS: Final = (
    Campaign(
        name="disk-full-sqlite",
        breaks="the disk of the whole process is full for a while",
        run=_everything_in_one_process,
        runs=5,
        rounds=3,
        budget_minutes=3.5,
        short_rounds=1,
        needs=frozenset({"mount"}),
    ),
    Campaign(
        name="disk-full-postgres",
        breaks="Postgres' disk is full for a while",
        run=_alone_on_postgres,
        runs=8,
        rounds=5,
        budget_minutes=2.5,
        short_rounds=1,
        needs=frozenset({"postgres", "mount"}),
    ),
)
