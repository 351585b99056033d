"""The command service is killed before, in and after its commits."""

from contextlib import AsyncExitStack
from typing import Final

from keyledger.contracts.failpoints import Name
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import ClientLedger, live
from tests.faults.judging import judge_all, judge_ledger
from tests.faults.processes import SERVE, Served, World, world_in
from tests.providers.databases import fresh_database

PLACES: Final[tuple[Name, ...]] = ("ledger.before_commit", "ledger.in_commit", "ledger.after_commit")
LATEST_COMMIT: Final = 60


async def _killed_again_and_again(stage: Stage, world: World, service: Served) -> ClientLedger:
    """Give the service a life for each round, each ended at a commit; then a last one. Return what its clients know."""
    await service.start()
    await service.until_ready()
    clients = ClientLedger(service.origin, by=world.root_key)
    await service.kill()
    for _ in range(stage.rounds):
        place = f"{stage.random.choice(PLACES)}:kill@{stage.random.randint(1, LATEST_COMMIT)}"
        stage.say(place)
        await service.start(place)
        await service.until_ready()
        await live(clients, stage.random, lambda: not service.runs)
    await service.start()
    await service.until_ready()
    return clients


async def _everything_in_one_process(stage: Stage) -> Outcome:
    async with world_in(stage.folder) as world:
        serve = world.service(SERVE)
        async with await _killed_again_and_again(stage, world, serve) as clients:
            return await judge_all(world, clients, faults=stage.rounds, verifier=serve, directory=serve)


async def _alone_on_postgres(stage: Stage) -> Outcome:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(fresh_database(stage.servers.postgres_url()))
        world = await stack.enter_async_context(world_in(stage.folder, database_url=database))
        clients = await _killed_again_and_again(stage, world, world.service("commands"))
        await stack.enter_async_context(clients)
        return await judge_ledger(world, clients, faults=stage.rounds)


CAMPAIGNS: Final = (
    Campaign(
        name="commands-killed-sqlite",
        breaks="the whole process is killed before, in and after a commit",
        run=_everything_in_one_process,
        runs=6,
        rounds=3,
        budget_minutes=4,
    ),
    Campaign(
        name="commands-killed-postgres",
        breaks="the command service is killed before, in and after a commit",
        run=_alone_on_postgres,
        runs=6,
        rounds=4,
        budget_minutes=4,
        needs=frozenset({"postgres"}),
    ),
)
