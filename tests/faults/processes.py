"""The real processes of a Keyledger: started with a failpoint, killed, stopped there and gone on."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import httpx2

from infra.local.ports import LOOPBACK, free_port
from infra.local.processes import stat_fields, tail
from keyledger.contracts.topics import TOPICS
from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Ledger
from keyledger.runtime.clock import SystemClock
from keyledger.runtime.masters import open_peppers
from keyledger.runtime.settings import Settings
from keyledger.verification.peppers import Peppers
from tests.e2e.profiles import PROGRAM, environment

READY_SECONDS: Final = 180.0
POLL_SECONDS: Final = 0.02
SERVE: Final = "serve"
"""The name of ``keyledger serve``, which is all services in one process."""


class Served:
    """One process that serves HTTP at a port of its own, the same over all its lives."""

    def __init__(self, name: str, command: Sequence[str], settings: Mapping[str, str], log: Path) -> None:
        self.name, self.node = name, settings["KEYLEDGER_NODE"]
        self.origin = f"http://{settings.get('KEYLEDGER_HOST', LOOPBACK)}:{settings['KEYLEDGER_PORT']}"
        self._command, self._settings, self._log = command, settings, log
        self._process: asyncio.subprocess.Process | None = None

    @property
    def process(self) -> asyncio.subprocess.Process:
        """The process of this life."""
        assert self._process is not None, f"{self.name} was not started"
        return self._process

    @property
    def runs(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.returncode is None

    async def start(self, failpoint: str = "", **settings: str) -> None:
        """Begin a life; ``failpoint`` as in ``KEYLEDGER_FAILPOINT``, ``settings`` for this life alone."""
        armed = {"KEYLEDGER_FAILPOINT": failpoint} if failpoint else {}
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._command,
                env={**self._settings, **settings, **armed},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    async def until_ready(self, *, seconds: float = READY_SECONDS) -> None:
        """Return once ``/readyz`` answers 200; AssertionError, with the end of its log, if it ends before."""
        async with asyncio.timeout(seconds), httpx2.AsyncClient(timeout=5.0, trust_env=False) as client:
            while True:
                assert self.runs, f"{self.name} ended before it was ready: {self.last_words()}"
                try:
                    if (await client.get(f"{self.origin}/readyz")).status_code == httpx2.codes.OK:
                        return
                except httpx2.TransportError:
                    pass  # nobody listens yet
                await asyncio.sleep(POLL_SECONDS)

    async def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does. Nothing, if it has ended already."""
        if self.runs:
            self.process.kill()
            await self.process.wait()

    def thaw(self) -> None:
        """SIGCONT, after it was stopped at a failpoint."""
        self.process.send_signal(signal.SIGCONT)

    @property
    def stands_still(self) -> bool:
        """Whether it was stopped at a failpoint."""
        try:
            return stat_fields(self.process.pid)[0] == "T"
        except OSError:
            return False

    def last_words(self) -> str:
        """Return the end of its log."""
        return tail(self._log, lines=8)


class World:
    """One installation in a folder of its own: on SQLite and the embedded log unless other URLs are given."""

    def __init__(self, folder: Path, *, database_url: str | None = None, kafka_bootstrap: str | None = None) -> None:
        self.data_dir = folder / "data"
        self.folder = folder
        self._shared = {
            name: value
            for name, value in (
                ("KEYLEDGER_DATABASE_URL", database_url),
                ("KEYLEDGER_KAFKA_BOOTSTRAP", kafka_bootstrap),
            )
            if value is not None
        }
        self.settings = Settings.model_validate(
            {
                "data_dir": self.data_dir,
                "database_url": database_url,
                "kafka_bootstrap": kafka_bootstrap,
            }
        )
        self._services: list[Served] = []

    async def prepare(self) -> None:
        """Do what a deployment does first: the data folder, the ledger's tables, the topics."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        await migrate(self.settings.ledger_url)
        async with self.log() as log:
            await log.ensure_topics(TOPICS)

    def service(self, name: str, *, within: Sequence[str] = (), **settings: str) -> Served:
        """Return a service that was not started yet: ``commands``, ``relay`` ..., or ``serve`` for all in one.

        ``within``: the command that runs it, as ``ip netns exec``; it must become the service.
        """
        program = [PROGRAM, "serve"] if name == SERVE else [sys.executable, "-m", f"keyledger_{name}"]
        command = [*within, *program]
        number = len(self._services)
        own = {"KEYLEDGER_NODE": f"{name}-{number}", **self._shared, **settings}
        log = self.folder / f"{name}-{number}.log"
        served = Served(name, command, {**environment(self.data_dir, free_port()), **own}, log)
        self._services.append(served)
        return served

    async def started(self, name: str, failpoint: str = "", **settings: str) -> Served:
        """Return a service that is ready."""
        served = self.service(name, **settings)
        await served.start(failpoint)
        await served.until_ready()
        return served

    async def stop(self) -> None:
        """Kill everything that still runs."""
        for service in self._services:
            await service.kill()

    @property
    def root_key(self) -> str:
        """The token of the administrator whom the first start made."""
        return (self.data_dir / "root.key").read_text(encoding="ascii").strip()

    @property
    def peppers(self) -> Peppers:
        """The installation's own."""
        return open_peppers(self.settings)

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        """Open the ledger beside the services."""
        ledger = await open_ledger(self.settings.ledger_url, clock=SystemClock())
        try:
            yield ledger
        finally:
            await ledger.close()

    @asynccontextmanager
    async def log(self) -> AsyncIterator[EventLog]:
        """Open the log beside the services."""
        log = await open_log(self.settings.log_url)
        try:
            yield log
        finally:
            await log.close()


@asynccontextmanager
async def world_in(
    folder: Path, *, database_url: str | None = None, kafka_bootstrap: str | None = None
) -> AsyncIterator[World]:
    """Prepare a world in a folder that exists and, at the end, kill whatever of it still runs."""
    world = World(folder, database_url=database_url, kafka_bootstrap=kafka_bootstrap)
    await world.prepare()
    try:
        yield world
    finally:
        await world.stop()
