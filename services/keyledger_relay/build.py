"""The relay, put together from its ports."""

from starlette.types import ASGIApp

from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from keyledger.runtime.process import Process
from keyledger.runtime.together import run_together
from keyledger.web.app import create_app
from keyledger_relay.heads import Heads
from keyledger_relay.mark import Mark
from keyledger_relay.metrics import Metrics
from keyledger_relay.patience import Patience
from keyledger_relay.progress import Progress
from keyledger_relay.relay import BATCH_EVENTS, IN_PROCESS_BATCH_EVENTS, Relay


class RelayService:
    """The relay's loops, its readiness, and an application that has no route of its own."""

    def __init__(self, app: ASGIApp, *, progress: Progress, relay: Relay, mark: Mark, heads: Heads) -> None:
        self.app = app
        self.progress = progress
        self._loops = (relay, mark, heads)

    async def run(self) -> None:
        """Relay until cancelled; whoever runs it starts it anew after an error.

        Raises:
            ForeignTopic, CheckpointMoved, UndecodableEvent, TopicMismatch: somebody has to look.
        """
        await run_together(**{type(loop).__name__: loop.run() for loop in self._loops})

    def unready(self) -> str | None:
        """Say why the relay has not caught up with the head taken at its start; None when it has."""
        return self.progress.unready()

    async def close(self) -> None:
        """Nothing: the ports belong to whoever opened them."""


def build(
    process: Process,
    ledger: Ledger,
    event_log: EventLog,
    *,
    batch_events: int | None = None,
    works_ahead: bool | None = None,
) -> RelayService:
    """Return the service. It does nothing before ``run``; the ports stay the caller's to close."""
    progress = Progress()
    metrics = Metrics(process.registry, progress, process.clock)
    ledger_patience = Patience("ledger", process.clock, metrics.retries)
    log_patience = Patience("log", process.clock, metrics.retries)
    apart = process.settings.kafka_bootstrap is not None
    return RelayService(
        create_app("Keyledger relay", randomness=process.randomness),
        progress=progress,
        relay=Relay(
            ledger,
            event_log,
            progress=progress,
            metrics=metrics,
            ledger_patience=ledger_patience,
            log_patience=log_patience,
            clock=process.clock,
            batch_events=batch_events or (BATCH_EVENTS if apart else IN_PROCESS_BATCH_EVENTS),
            works_ahead=apart if works_ahead is None else works_ahead,
        ),
        mark=Mark(ledger, progress=progress, patience=ledger_patience, clock=process.clock),
        heads=Heads(
            ledger,
            event_log,
            progress=progress,
            ledger_patience=ledger_patience,
            log_patience=log_patience,
            clock=process.clock,
        ),
    )
