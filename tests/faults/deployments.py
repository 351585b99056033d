"""The services of the thin path on a log that is broken, kept running as an operator's supervisor does."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

from keyledger.contracts.topics import EVENTS, LEDGER
from keyledger.eventlog.port import LogUnavailable, OffsetOutOfRange
from tests.faults.campaign import Outcome
from tests.faults.clients import ClientLedger, until_answered
from tests.faults.judging import judge_all
from tests.faults.oracle.topics import topic_violations
from tests.faults.processes import Served, World, world_in
from tests.faults.waiting import meanwhile, until
from tests.unit.relay.kit import positions, records_of

LOOK_SECONDS: Final = 0.05
PAUSE_SECONDS: Final = 0.02
"""Between two writes of one writer: a broker takes seconds to come back, and the machine's time is better spent on that
than on ten thousand writes which all meet the same fault."""


class Deployment:
    """Commands, relay, directory and a verifier node, each a process."""

    def __init__(self, world: World, clients: ClientLedger, services: dict[str, Served]) -> None:
        self.world, self.clients, self.services = world, clients, services
        self.restarts = 0

    @property
    def relay(self) -> Served:
        """The relay."""
        return self.services["relay"]

    async def keep_running(self) -> None:
        """Start again whatever ends, until cancelled."""
        while True:
            for service in self.services.values():
                if not service.runs:
                    self.restarts += 1
                    await service.start()
            await asyncio.sleep(LOOK_SECONDS)

    async def answered(self, number: int) -> None:
        """Return once so many more writes were answered than now; the ledger does not depend on the log."""
        await until_answered(self.clients, number)

    async def caught_up(self) -> None:
        """Return once both topics hold everything that the ledger holds now, whatever stands there besides."""
        async with self.world.ledger() as ledger, self.world.log() as log:
            head = (await ledger.head()).position

            async def reached() -> bool:
                held = [set(positions(await records_of(log, topic.name))) for topic in (LEDGER, EVENTS)]
                return all(one.issuperset(range(1, head + 1)) for one in held)

            await until(_once_there(reached), "the relay has taken everything to the topics")

    async def whole(self) -> None:
        """Return once both topics hold each position in order, and everything in the ledger."""
        async with self.world.ledger() as ledger, self.world.log() as log:

            async def is_whole() -> bool:
                return not await topic_violations(ledger, log)

            await until(_once_there(is_whole), "both topics are whole")

    async def judged(self, *, faults: int) -> Outcome:
        """Judge everything, once nothing is broken and nobody writes."""
        await self.whole()
        for service in self.services.values():
            await until(_answering(service), f"{service.name} is ready")
        return await judge_all(
            self.world,
            self.clients,
            faults=faults,
            verifier=self.services["verification"],
            directory=self.services["directory"],
            alerts=False,
        )


def _once_there(asked: Callable[[], Awaitable[bool]]) -> Callable[[], Awaitable[bool]]:
    async def holds() -> bool:
        try:
            return await asked()
        except (LogUnavailable, OffsetOutOfRange, TimeoutError):  # also of a page that was deleted while it was read
            return False

    return holds


def _answering(service: Served) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        try:
            await service.until_ready()
        except AssertionError:
            return False  # it is started again in a moment
        return True

    return ready


@asynccontextmanager
async def deployed(folder: Path, *, kafka_bootstrap: str | None = None) -> AsyncIterator[Deployment]:
    """Start everything on a ledger in a file and a log in Kafka, or else in a file too, and keep it running."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_in(folder, kafka_bootstrap=kafka_bootstrap))
        services = {name: world.service(name) for name in ("commands", "relay", "directory", "verification")}
        await services["commands"].start()  # the first one makes the root key
        await services["commands"].until_ready()
        for name in ("relay", "directory", "verification"):
            await services[name].start()
        for service in services.values():
            await service.until_ready()
        commands = services["commands"]
        clients = await stack.enter_async_context(
            ClientLedger(commands.origin, by=world.root_key, pause_seconds=PAUSE_SECONDS)
        )
        deployment = Deployment(world, clients, services)
        await stack.enter_async_context(meanwhile(deployment.keep_running()))
        yield deployment
