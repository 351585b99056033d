"""Postgres is killed under load, whole or in one of its processes; the command service lives on."""

from contextlib import AsyncExitStack
from typing import Final

from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import ClientLedger, live_through, until_answered
from tests.faults.judging import judge_ledger
from tests.faults.postgres import OwnPostgres, own_postgres
from tests.faults.processes import Served, world_in

WRITERS: Final = 4


async def _killed_again_and_again(stage: Stage) -> Outcome:
    async with AsyncExitStack() as stack:
        postgres = await stack.enter_async_context(own_postgres(stage.folder / "postgres"))
        world = await stack.enter_async_context(world_in(stage.folder, database_url=postgres.url))
        service = await world.started("commands")
        clients = await stack.enter_async_context(ClientLedger(service.origin, by=world.root_key))
        breaking = _break(stage, postgres, clients, service)
        await live_through(clients, stage.random, breaking, writers=WRITERS)
        return await judge_ledger(world, clients, faults=stage.rounds)


async def _break(stage: Stage, postgres: OwnPostgres, clients: ClientLedger, service: Served) -> None:
    """Kill it each time that some writes were answered since the last time; at the end let it answer some."""
    for _ in range(stage.rounds):
        await until_answered(clients, stage.random.randint(1, 30), service)
        whole, children = stage.random.random() < 0.5, postgres.children
        stage.say("all of it" if whole else "one of its processes")
        if whole or not children:  # it has none while it still recovers from the last time
            await postgres.kill()
            await postgres.start()
        else:
            postgres.crash(stage.random.choice(children))
    await until_answered(clients, 10, service)


CAMPAIGNS: Final = (
    Campaign(
        name="postgres-killed",
        breaks="Postgres is killed, whole or in one process",
        run=_killed_again_and_again,
        runs=10,
        rounds=10,
        budget_minutes=6,
        short_rounds=2,
        needs=frozenset({"postgres"}),
    ),
)
