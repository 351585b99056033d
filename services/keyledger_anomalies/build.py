"""The anomaly detection, put together from its ports: Faust where there is Kafka, else the plain loop."""

from typing import Protocol

from prometheus_client import Gauge
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from keyledger.contracts.alert import Alert
from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import ALERTS
from keyledger.eventlog.port import EventLog
from keyledger.projections.sql import open_engine
from keyledger.projections.sql_read_model import SqlGeneration
from keyledger.projections.sql_rebuilding import SqlRebuildable
from keyledger.runtime.process import Process
from keyledger.runtime.settings import Settings
from keyledger.runtime.together import run_together
from keyledger.verification.node import VerifierNode
from keyledger.verification.peppers import Peppers
from keyledger.web.cursors import Cursors
from keyledger.web.verifier_authentication import VerifierAuthentication
from keyledger_anomalies.alerts import PARTITION, AlertPublisher
from keyledger_anomalies.api import create_api
from keyledger_anomalies.detector_state import DetectorState
from keyledger_anomalies.loop import DetectorLoop
from keyledger_anomalies.projector import AlertProjector, fill
from keyledger_anomalies.store import AlertsTable, AlertStore
from keyledger_anomalies.tally import Tally

SCHEMA = "anomalies"


class Detector(Protocol):
    """A shell around the detectors: reads attempts, says alerts."""

    async def run(self) -> None:
        """Read until cancelled; an exception ends the process."""
        ...

    def unready(self) -> str | None:
        """Say why it does not read yet."""
        ...


class AnomaliesService:
    """The detectors, the alerts' read model and its API; ``own_node``: the verifier node that runs with it."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        detector: Detector,
        projector: AlertProjector,
        publisher: AlertPublisher,
        node: VerifierNode,
        owns_node: bool,
        engine: AsyncEngine,
    ) -> None:
        self.app = app
        self._detector, self._projector, self._publisher = detector, projector, publisher
        self._node, self._owns_node, self._engine = node, owns_node, engine

    async def run(self) -> None:
        """Detect, and fill the read model, until cancelled.

        Raises:
            what ``DetectorLoop.run``, ``FaustDetector.run``, ``AlertProjector.run`` and ``VerifierNode.run`` raise:
            somebody has to look.
        """
        node = {"anomalies_verifier": self._node.run()} if self._owns_node else {}
        await run_together(anomalies_detector=self._detector.run(), anomalies_alerts=self._projector.run(), **node)

    def unready(self) -> str | None:
        """Say why requests must not come yet; None once what was there at the start is read."""
        return self._node.unready() or self._detector.unready() or self._projector.unready()

    async def close(self) -> None:
        """Close the read model and the alerts' producer; the other ports belong to whoever opened them."""
        await self._publisher.close()
        await self._engine.dispose()


def build(
    process: Process,
    event_log: EventLog,
    node: VerifierNode,
    *,
    peppers: Peppers,
    owns_node: bool,
) -> AnomaliesService:
    """Return the service; nothing is connected before ``run``.

    ``owns_node``: its ``run`` runs the node; else whoever shares the node does.
    """
    engine = _engine(process.settings)
    alerts, publisher, tally = AlertStore(engine), AlertPublisher(event_log), Tally(process.registry)
    app = create_api(
        alerts,
        VerifierAuthentication(node, clock=process.clock, trusted_proxies=process.settings.trusted_proxies),
        cursors=Cursors(peppers.derived("keyledger alerts cursors")),
        randomness=process.randomness,
    )
    projector = AlertProjector(event_log, alerts, clock=process.clock)
    parked = Gauge(
        "keyledger_alerts_parked", "Records that hold no alert that is known here.", registry=process.registry
    )
    parked.set_function(lambda: len(projector.parked))
    return AnomaliesService(
        app,
        detector=_detector(event_log, engine, publisher, settings=process.settings, clock=process.clock, tally=tally),
        projector=projector,
        publisher=publisher,
        node=node,
        owns_node=owns_node,
        engine=engine,
    )


def rebuildable(process: Process, event_log: EventLog) -> SqlRebuildable:
    """Return the alerts' read model as an operator sees it."""

    async def reach(generation: SqlGeneration[Alert, AlertsTable], offset: int) -> None:
        await fill(event_log, generation, offset)

    async def head() -> int:
        _, end = await event_log.bounds(ALERTS.name, PARTITION)
        return end

    return SqlRebuildable(AlertStore(_engine(process.settings)), reach=reach, head=head)


def _engine(settings: Settings) -> AsyncEngine:
    return open_engine(settings.alerts_url, schema=SCHEMA)


def _detector(
    event_log: EventLog,
    engine: AsyncEngine,
    publisher: AlertPublisher,
    *,
    settings: Settings,
    clock: Clock,
    tally: Tally,
) -> Detector:
    if settings.kafka_bootstrap is None:
        return DetectorLoop(event_log, DetectorState(engine), publisher, clock=clock, tally=tally)
    from keyledger_anomalies.faust_app import FaustDetector  # noqa: PLC0415 - 0.7 s that the embedded profile saves

    return FaustDetector(
        bootstrap=settings.kafka_bootstrap,
        security=settings.kafka_security,
        data_dir=settings.data_dir / "faust",
        event_log=event_log,
        publish=publisher,
        clock=clock,
        tally=tally,
    )
