"""``python -m keyledger_anomalies``: the anomaly detection as a process of its own."""

import asyncio
import sys

from prometheus_client import CollectorRegistry

from keyledger.eventlog.opening import open_log
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.runtime.logging import configure_logging
from keyledger.runtime.masters import open_peppers
from keyledger.runtime.serving import serve
from keyledger.runtime.settings import InvalidSettings, Settings, read_settings
from keyledger.verification.index import IndexInUse, open_index
from keyledger.verification.node import NodeSettings, VerifierNode
from keyledger.verification.projector import VerificationProjection
from keyledger_anomalies.build import build, kafka_security


def main() -> int:
    """Return the process's exit code; what keeps it from starting is one line on standard error."""
    try:
        settings = read_settings()
        configure_logging(settings.log_level, settings.log_format)
        return asyncio.run(anomalies(settings))
    except (InvalidSettings, IndexInUse) as error:
        sys.stderr.write(f"keyledger_anomalies: {error}\n")
        return 2


async def anomalies(settings: Settings) -> int:
    """Open the log and a verifier node, serve until told to stop, and return the exit code."""
    clock, randomness = SystemClock(), SystemRandomness()
    peppers = open_peppers(settings)
    registry = CollectorRegistry()
    folder, generation = settings.data_dir / "anomalies-index", VerificationProjection.generation
    index = open_index(folder, generation=generation, size_mb=settings.index_size_mb)
    try:
        event_log = await open_log(settings.log_url, security=kafka_security(settings))
        try:
            node = VerifierNode(
                index, peppers, event_log, settings=node_settings(settings), clock=clock, randomness=randomness
            )
            service = build(
                event_log,
                node,
                peppers=peppers,
                settings=settings,
                clock=clock,
                randomness=randomness,
                registry=registry,
                owns_node=True,
            )
            return await serve(service, settings, registry=registry)
        finally:
            await event_log.close()
    finally:
        index.close()


def node_settings(settings: Settings) -> NodeSettings:
    """Return how the embedded node is set: like any other of the fleet, it has a name of its own."""
    return NodeSettings(
        node=settings.node,
        organizations=settings.verifier_organizations,
        environments=settings.verifier_environments,
        on_stale=settings.on_stale,
        max_staleness_seconds=settings.max_staleness_seconds,
        clock_skew_seconds=settings.clock_skew_seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
