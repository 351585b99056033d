"""The command service on a machine of its own, whose cable to its database or to its clients is pulled under load."""

import asyncio
from contextlib import AsyncExitStack
from typing import Final
from urllib.parse import urlsplit

from tests.faults.cables import Cable, another_machine
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import ClientLedger, live_through, until_answered
from tests.faults.judging import judge_ledger
from tests.faults.processes import Served, world_in
from tests.faults.proxy import Proxy
from tests.providers.databases import fresh_database

WRITERS: Final = 4
MOST_MISSED: Final = 4
"""How many writes are refused or unknown, at most, before the database's cable is plugged in again."""
LONGEST_SECONDS: Final = 4.0
"""How long a cable is pulled otherwise: also for longer than a connection may take to be made."""


async def _pulled(stage: Stage) -> Outcome:
    async with AsyncExitStack() as stack:
        machine = stack.enter_context(another_machine())
        to_database, to_clients = machine.cable(), machine.cable()
        database = await stack.enter_async_context(fresh_database(stage.servers.postgres_url()))
        server = urlsplit(database)
        assert server.port is not None
        proxy = await stack.enter_async_context(Proxy(server.port, host=to_database.near))
        user = server.netloc.rpartition("@")[0]
        there = server._replace(netloc=f"{user}@{to_database.near}:{proxy.port}").geturl()
        world = await stack.enter_async_context(world_in(stage.folder, database_url=database))
        service = world.service(
            "commands", within=machine.within, KEYLEDGER_DATABASE_URL=there, KEYLEDGER_HOST=to_clients.far
        )
        await service.start()
        await service.until_ready()
        clients = await stack.enter_async_context(ClientLedger(service.origin, by=world.root_key))
        breaking = _break(stage, to_database, to_clients, clients, service)
        await live_through(clients, stage.random, breaking, writers=WRITERS)
        return await judge_ledger(world, clients, faults=stage.rounds)


async def _break(stage: Stage, to_database: Cable, to_clients: Cable, clients: ClientLedger, service: Served) -> None:
    for _ in range(stage.rounds):
        await until_answered(clients, stage.random.randint(1, 30), service)
        cables = stage.random.choice(([to_database], [to_database], [to_clients], [to_database, to_clients]))
        missed = stage.random.choice((0, stage.random.randint(1, MOST_MISSED))) if to_clients not in cables else 0
        seconds = stage.random.uniform(0, LONGEST_SECONDS)
        names = " and ".join("database" if cable is to_database else "clients" for cable in cables)
        stage.say(f"no {names} " + (f"until {missed} writes are missed" if missed else f"for {seconds:.2f} s"))
        for cable in cables:
            await asyncio.to_thread(cable.pull)
        try:
            await (until_answered(clients, 0, service, refused=missed) if missed else asyncio.sleep(seconds))
        finally:
            for cable in cables:
                await asyncio.to_thread(cable.plug)
    await until_answered(clients, 10, service)


CAMPAIGNS: Final = (
    Campaign(
        name="cables-pulled",
        breaks="the command service loses the network to its database, to its clients, or to both",
        run=_pulled,
        runs=5,
        rounds=5,
        budget_minutes=3.5,
        short_rounds=2,
        needs=frozenset({"postgres", "network"}),
    ),
)
