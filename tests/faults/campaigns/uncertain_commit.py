"""The connection to Postgres is cut at COMMIT: before it arrived, after it was carried out, or in between."""

from collections.abc import Iterator
from contextlib import AsyncExitStack
from typing import Final

from tests.conformance.eventstore.cutting_proxy import CuttingProxy, Fault, Wire, drop_the_answer, drop_the_request
from tests.conformance.eventstore.lock_waits import until_a_writer_waits_for_the_lock
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import ClientLedger, live
from tests.faults.judging import judge_ledger
from tests.faults.processes import world_in
from tests.providers.databases import fresh_database

WRITERS: Final = 4
SPARED: Final = 0.5
"""How many commits go through: cut at each one, a batch would be pursued until its patience ends."""


async def _cut_at_commit(stage: Stage) -> Outcome:
    """Cut ``stage.rounds`` connections at their commits, under load."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(fresh_database(stage.servers.postgres_url()))
        proxy = await stack.enter_async_context(CuttingProxy(database))
        world = await stack.enter_async_context(world_in(stage.folder, database_url=proxy.url))
        service = await world.started("commands")
        clients = await stack.enter_async_context(ClientLedger(service.origin, by=world.root_key))
        plan = _Plan(stage, database)
        proxy.faults = plan.faults()
        await live(clients, stage.random, lambda: plan.cuts >= stage.rounds or not service.runs, writers=WRITERS)
        assert service.runs, service.last_words()
        proxy.faults = iter(())
        return await judge_ledger(world, clients, faults=plan.cuts)


class _Plan:
    """Which commits are cut, and how."""

    def __init__(self, stage: Stage, database: str) -> None:
        self.cuts = 0
        self._stage, self._database = stage, database

    def faults(self) -> Iterator[Fault]:
        while self.cuts < self._stage.rounds:
            if self._stage.random.random() < SPARED:
                yield Wire.forward
                continue
            cut = self._stage.random.choice((drop_the_answer, drop_the_request, self._deliver_late))
            self._stage.say(cut.__name__)
            self.cuts += 1
            yield cut

    async def _deliver_late(self, wire: Wire, data: bytes) -> None:
        """The client has given up and asks again over another connection, when the commit arrives."""
        wire.cut_client()
        await until_a_writer_waits_for_the_lock(self._database)
        await wire.forward(data)


CAMPAIGNS: Final = (
    Campaign(
        name="uncertain-commit-postgres",
        breaks="the connection is cut at COMMIT",
        run=_cut_at_commit,
        runs=10,
        rounds=100,
        budget_minutes=4,
        short_rounds=20,
        needs=frozenset({"postgres"}),
    ),
)
