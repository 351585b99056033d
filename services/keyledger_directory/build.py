"""The directory, put together from its ports."""

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from keyledger.contracts.ports import Clock
from keyledger.eventlog.port import EventLog
from keyledger.projections.port import ReadModelUnavailable
from keyledger.projections.rebuilding import ledger_head
from keyledger.projections.runner import ProjectionRunner
from keyledger.projections.sql import open_engine
from keyledger.projections.sql_read_model import SqlGeneration
from keyledger.projections.sql_rebuilding import SqlRebuildable
from keyledger.runtime.process import Process
from keyledger.runtime.settings import InvalidSettings
from keyledger.runtime.together import run_together
from keyledger.verification.node import VerifierNode
from keyledger.verification.peppers import Peppers
from keyledger.web.cursors import Cursors
from keyledger.web.positions import FollowedPositions
from keyledger.web.verifier_authentication import VerifierAuthentication
from keyledger_directory.api import create_api
from keyledger_directory.metrics import register
from keyledger_directory.projector import DirectoryRow, KeyDirectory
from keyledger_directory.store import DirectoryStore
from keyledger_directory.tables import DirectoryTables

SCHEMA = "directory"
RETRY_SECONDS = 0.5
log = structlog.get_logger(__name__)


class DirectoryService:
    """The directory's API and its projection; ``own_node``: the verifier node that runs with it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        store: DirectoryStore,
        runner: ProjectionRunner[DirectoryRow],
        node: VerifierNode,
        owns_node: bool,
        clock: Clock,
    ) -> None:
        self.app = app
        self._store, self._runner, self._node, self._owns_node, self._clock = store, runner, node, owns_node, clock
        self._goal: int | None = None

    async def run(self) -> None:
        """Follow the ledger until cancelled.

        Raises:
            NewerGeneration, and what ``ProjectionRunner.run`` and ``VerifierNode.run`` raise: somebody has to look.
        """
        node = {"directory_verifier": self._node.run()} if self._owns_node else {}
        await run_together(directory_projection=self._project(), **node)

    async def _project(self) -> None:
        while True:
            try:
                await self._store.prepare()
            except ReadModelUnavailable as error:
                log.warning("the directory waits for its database", error=str(error))
                await self._clock.sleep(RETRY_SECONDS)
            else:
                break
        await self._runner.run()

    def unready(self) -> str | None:
        """Say why requests must not come yet; None once the ledger is consumed to the head taken at the start.

        The head is taken from the node: what it has applied when it is first ready.
        """
        why = self._node.unready()
        if why is not None:
            return why
        if self._goal is None:
            self._goal = self._node.runner.position
        if self._runner.position < self._goal:
            return f"the directory is at position {self._runner.position} of {self._goal}"
        return None

    async def close(self) -> None:
        """Close the read model; the other ports belong to whoever opened them."""
        await self._store.close()


def build(
    process: Process,
    event_log: EventLog,
    node: VerifierNode,
    *,
    peppers: Peppers,
    owns_node: bool,
) -> DirectoryService:
    """Return the service; nothing is connected before ``run``.

    ``owns_node``: its ``run`` runs the node; else whoever shares the node does.

    Raises:
        InvalidSettings: the database's URL is none.
    """
    store = DirectoryStore(_engine(process.settings.directory_url))
    runner = ProjectionRunner(KeyDirectory(), store, event_log, clock=process.clock)
    register(process.registry, runner)
    app = create_api(
        store,
        runner,
        VerifierAuthentication(node, clock=process.clock, trusted_proxies=process.settings.trusted_proxies),
        positions=FollowedPositions(lambda: runner.checkpoint.store, peppers).tokens,
        freshness=node.freshness,
        cursors=Cursors(peppers.derived("keyledger directory cursors")),
        clock=process.clock,
        randomness=process.randomness,
    )
    return DirectoryService(app, store=store, runner=runner, node=node, owns_node=owns_node, clock=process.clock)


def rebuildable(process: Process, event_log: EventLog) -> SqlRebuildable:
    """Return the directory's read model as an operator sees it. Raises InvalidSettings."""

    async def reach(generation: SqlGeneration[DirectoryRow, DirectoryTables], position: int) -> None:
        await ProjectionRunner(KeyDirectory(), generation, event_log, clock=process.clock).reach(position)

    store = DirectoryStore(_engine(process.settings.directory_url))
    return SqlRebuildable(store, reach=reach, head=lambda: ledger_head(event_log))


def _engine(url: str) -> AsyncEngine:
    try:
        return open_engine(url, schema=SCHEMA)
    except ValueError as error:
        raise InvalidSettings(f"KEYLEDGER_DIRECTORY_DATABASE_URL: {error}") from None
