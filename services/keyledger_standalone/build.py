"""All services in one process, over shared ports."""

from collections.abc import Sequence
from typing import Final

from fastapi import FastAPI
from starlette.types import ASGIApp

from keyledger.contracts.routes import Service as ServiceName
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from keyledger.runtime.process import Process
from keyledger.runtime.serving import Service
from keyledger.runtime.together import run_together
from keyledger.verification.node import VerifierNode
from keyledger.verification.openapi import document as verify_document
from keyledger.verification.peppers import Peppers
from keyledger.web.app import create_app
from keyledger_anomalies.build import build as build_anomalies
from keyledger_commands.build import build as build_commands
from keyledger_directory.build import build as build_directory
from keyledger_relay.build import build as build_relay
from keyledger_standalone.documents import merged_openapi
from keyledger_standalone.origin import Origin
from keyledger_verification.build import build as build_verification

IN_FORCE_SECONDS: Final = 2.0
"""How long the answer to a change waits at most until this process' own verifier applied it."""


class StandaloneService:
    """The services side by side: ready when all of them are, and gone when one of them fails."""

    def __init__(self, app: ASGIApp, services: Sequence[Service], *, openapi: bytes) -> None:
        self.app, self.openapi = app, openapi
        self._services = services

    async def run(self) -> None:
        """Run all background work until cancelled; the first failure ends it, and is raised."""
        await run_together(**{type(service).__name__: service.run() for service in self._services})

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
) -> StandaloneService:
    """Return the whole of Keyledger over one ledger, one log and one verifier node."""

    async def in_force(position: int) -> None:
        asked_at = process.clock.now()
        # Always: too many questions at a time are told to come again, but a change that was answered must hold.
        await node.freshness.wait_for(position, asked_at=asked_at, timeout_seconds=IN_FORCE_SECONDS, always=True)

    commands = build_commands(process, ledger, node.sink, peppers=peppers, owns_sink=False, in_force=in_force)
    directory = build_directory(process, event_log, node, peppers=peppers, owns_node=False)
    verification = build_verification(process, node, peppers=peppers)
    anomalies = build_anomalies(process, event_log, node, peppers=peppers, owns_node=False)
    relay = build_relay(process, ledger, event_log)
    apps: dict[ServiceName, ASGIApp] = {
        "commands": commands.app,
        "directory": directory.app,
        "verification": verification.app,
        "anomalies": anomalies.app,
    }
    documents = [verify_document(), *(app.openapi() for app in apps.values() if isinstance(app, FastAPI))]
    openapi = merged_openapi(documents)
    elsewhere = create_app("Keyledger", randomness=process.randomness)
    origin = Origin(apps, {"/openapi.json": openapi}, elsewhere=elsewhere)
    return StandaloneService(origin, [relay, commands, directory, verification, anomalies], openapi=openapi)
