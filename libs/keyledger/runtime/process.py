"""A process of Keyledger: its settings, what it opens, and one clear line when it cannot start."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final

from prometheus_client import CollectorRegistry

from keyledger.contracts import failpoints
from keyledger.contracts.ports import Clock, Randomness
from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import EventLog, LogUnavailable, TopicMismatch
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Ledger, LedgerNotMigrated, LedgerUnavailable, OutcomeUnknown
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.runtime.collecting import collect_seldom
from keyledger.runtime.core_dumps import forbid_core_dumps
from keyledger.runtime.logging import configure_logging
from keyledger.runtime.node_metrics import NodeMetrics
from keyledger.runtime.settings import InvalidSettings, Settings, read_settings
from keyledger.verification.index import IndexUnusable, open_index
from keyledger.verification.index_files import IndexInUse
from keyledger.verification.node import NodeSettings, VerifierNode
from keyledger.verification.peppers import Peppers
from keyledger.verification.projector import VerificationProjection

CANNOT_START: Final = 2
INDEX_PREFIX: Final = "index-"
"""Before the node's name, the folder of its index in the data folder."""
_REASONS: Final = (
    InvalidSettings,
    LedgerNotMigrated,
    LedgerUnavailable,
    OutcomeUnknown,
    LogUnavailable,
    TopicMismatch,
    IndexInUse,
    IndexUnusable,
)
"""What an operator can mend: told in one line, without a trace. Everything else is a defect and shows one."""


@dataclass(frozen=True)
class Process:
    """What every process has. Whatever it opens is closed at the end of the ``async with``."""

    settings: Settings
    clock: Clock = field(default_factory=SystemClock)
    randomness: Randomness = field(default_factory=SystemRandomness)
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @asynccontextmanager
    async def ledger(self) -> AsyncIterator[Ledger]:
        """Open the ledger of the settings. Raises LedgerNotMigrated, LedgerUnavailable, InvalidSettings."""
        try:
            ledger = await open_ledger(self.settings.ledger_url, clock=self.clock)
        except ValueError as error:
            raise InvalidSettings(f"KEYLEDGER_DATABASE_URL: {error}") from None
        try:
            yield ledger
        finally:
            await ledger.close()

    @asynccontextmanager
    async def event_log(self) -> AsyncIterator[EventLog]:
        """Open the log of the settings. Raises LogUnavailable, InvalidSettings."""
        try:
            event_log = await open_log(self.settings.log_url, security=self.settings.kafka_security, now=self.clock.now)
        except ValueError as error:
            raise InvalidSettings(f"KEYLEDGER_KAFKA_BOOTSTRAP: {error}") from None
        try:
            yield event_log
        finally:
            await event_log.close()

    @asynccontextmanager
    async def verifier_node(self, event_log: EventLog, peppers: Peppers) -> AsyncIterator[VerifierNode]:
        """Open this node's index and return the node; it does nothing before its ``run``. Raises IndexInUse."""
        settings = self.settings
        index = open_index(
            settings.data_dir / f"{INDEX_PREFIX}{settings.node}",
            generation=VerificationProjection.generation,
            size_mb=settings.index_size_mb,
        )
        try:
            node = VerifierNode(
                index,
                peppers,
                event_log,
                settings=NodeSettings(
                    node=settings.node,
                    organizations=settings.verifier_organizations,
                    environments=settings.verifier_environments,
                    on_stale=settings.on_stale,
                    max_staleness_seconds=settings.max_staleness_seconds,
                    clock_skew_seconds=settings.clock_skew_seconds,
                ),
                clock=self.clock,
                randomness=self.randomness,
            )
            self.registry.register(NodeMetrics(node, self.clock))
            yield node
        finally:
            index.close()


def run(name: str, main: Callable[[Process], Coroutine[Any, Any, int]]) -> int:
    """Run a process and return its exit code; what keeps it from starting is one line on standard error and code 2."""
    collect_seldom()
    os.umask(0o077)  # digests, people's names, addresses: whatever a process writes is for its owner alone
    try:
        forbid_core_dumps()
        settings = read_settings()
        configure_logging(settings.log_level, settings.log_format)
        _arm(settings.failpoint)
        with asyncio.Runner(loop_factory=loop_factory()) as runner:
            return runner.run(main(Process(settings)))
    except _REASONS as error:
        sys.stderr.write(f"{name}: {error}\n")
        return CANNOT_START
    except OSError as error:  # a data folder that cannot be written, a certificate that is not there, a full disk
        where = "" if error.filename is None else f"{error.filename}: "
        sys.stderr.write(f"{name}: {where}{error.strerror or error}\n")
        return CANNOT_START


def _arm(failpoint: str) -> None:
    try:
        failpoints.arm(failpoint)
    except failpoints.UnknownFailpoint as error:
        raise InvalidSettings(f"KEYLEDGER_FAILPOINT: {error}") from None


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return uvloop's where there is one: the way from an answered append to the index took 1.6 ms instead of 2.1."""
    if find_spec("uvloop") is None:  # it is not made for every system
        return None
    import uvloop  # noqa: PLC0415 - only where it is

    return uvloop.new_event_loop
