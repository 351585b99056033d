"""All services in one process, over shared ports."""

import asyncio
from collections.abc import Mapping, Sequence

from starlette.types import ASGIApp

from keyledger.contracts.routes import Service as ServiceName
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from keyledger.runtime.process import Process
from keyledger.runtime.serving import Service
from keyledger.verification.node import VerifierNode
from keyledger.verification.peppers import Peppers
from keyledger_anomalies.build import build_embedded as build_anomalies
from keyledger_commands.build import build as build_commands
from keyledger_directory.build import build as build_directory
from keyledger_relay.build import build as build_relay
from keyledger_standalone.origin import Origin
from keyledger_verification.build import build as build_verification


class StandaloneService:
    """The services side by side: ready when all of them are, and gone when one of them fails."""

    def __init__(self, app: ASGIApp, services: Sequence[Service]) -> None:
        self.app = app
        self._services = services

    async def run(self) -> None:
        """Run all background work until cancelled; the first failure ends it, and is raised."""
        try:
            async with asyncio.TaskGroup() as tasks:
                for service in self._services:
                    tasks.create_task(service.run(), name=type(service).__name__)
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed

    def unready(self) -> str | None:
        """Say why requests must not come yet; None once every service may be asked."""
        return next((why for service in self._services if (why := service.unready()) is not None), None)

    async def close(self) -> None:
        for service in self._services:
            await service.close()


def build(
    process: Process,
    ledger: Ledger,
    event_log: EventLog,
    node: VerifierNode,
    *,
    peppers: Peppers,
    documents: Mapping[str, bytes],
) -> StandaloneService:
    """Return the whole of Keyledger over one ledger, one log and one verifier node."""
    shared = {
        "settings": process.settings,
        "clock": process.clock,
        "randomness": process.randomness,
        "registry": process.registry,
    }
    verification = build_verification(node, peppers=peppers, owns_node=True, **shared)
    services: dict[ServiceName, Service] = {
        "commands": build_commands(ledger, node.sink, peppers=peppers, owns_sink=False, **shared),
        "directory": build_directory(event_log, node, peppers=peppers, owns_node=False, **shared),
        "verification": verification,
        "anomalies": build_anomalies(event_log, node, peppers=peppers, **shared),
    }
    relay = build_relay(
        ledger, event_log, clock=process.clock, randomness=process.randomness, registry=process.registry
    )
    apps = {name: service.app for name, service in services.items()}
    return StandaloneService(Origin(apps, documents), [relay, *services.values()])
