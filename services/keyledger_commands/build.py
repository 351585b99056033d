"""The command service, put together from its ports."""

import asyncio

import structlog
from prometheus_client import Counter, Gauge
from starlette.types import ASGIApp

from keyledger.contracts.auth_event import AuthAttempt
from keyledger.contracts.ports import Clock
from keyledger.eventstore.port import Ledger
from keyledger.runtime.process import Process
from keyledger.verification.auth_events import AuthEventSink
from keyledger.verification.peppers import Peppers
from keyledger_commands.api import create_api
from keyledger_commands.authentication import LedgerAuthentication
from keyledger_commands.streams import Streams
from keyledger_commands.writing import InForce, at_once

RESTART_SECONDS = 1.0
log = structlog.get_logger(__name__)


class CommandsService:
    """The routes that write. ``run`` sends the attempts of ``own_sink``; whatever becomes of them, requests go on."""

    def __init__(self, app: ASGIApp, *, own_sink: AuthEventSink | None, clock: Clock) -> None:
        self.app = app
        self._own_sink, self._clock = own_sink, clock

    async def run(self) -> None:
        """Send attempts until cancelled. What breaks the sending is logged, and must not lock operators out."""
        while self._own_sink is not None:
            try:
                await self._own_sink.run()
            except Exception as error:
                log.exception("attempts are not sent", error=str(error))
            await self._clock.sleep(RESTART_SECONDS)
        await asyncio.Event().wait()

    def unready(self) -> str | None:
        """Nothing to wait for: the ledger is asked anew for every request."""

    async def close(self) -> None:
        """Nothing: the ports belong to whoever opened them."""


def build(
    process: Process,
    ledger: Ledger,
    sink: AuthEventSink,
    *,
    peppers: Peppers,
    owns_sink: bool,
    in_force: InForce = at_once,
) -> CommandsService:
    """Return the service over a ledger that was bootstrapped.

    ``owns_sink``: its ``run`` sends what the sink holds; else whoever shares the sink does. Ports stay the caller's to
    close. ``in_force`` waits for a verifier in the same process: a change is answered when that one applied it.
    """
    attempts = Counter(
        "keyledger_management_attempts",
        "Management requests by what authentication said",
        ["code"],
        registry=process.registry,
    )

    dropped = "Management attempts that found the buffer full"
    Gauge("keyledger_management_attempts_dropped", dropped, registry=process.registry).set_function(
        lambda: sink.dropped
    )

    def record(attempt: AuthAttempt) -> None:
        attempts.labels(attempt.code).inc()
        sink.record(attempt)

    streams = Streams(ledger, process.clock)
    authentication = LedgerAuthentication(
        streams,
        peppers,
        clock=process.clock,
        randomness=process.randomness,
        record=record,
        node=process.settings.node,
        trusted_proxies=process.settings.trusted_proxies,
    )
    app = create_api(
        ledger,
        streams,
        authentication,
        peppers=peppers,
        clock=process.clock,
        randomness=process.randomness,
        in_force=in_force,
    )
    return CommandsService(app, own_sink=sink if owns_sink else None, clock=process.clock)
