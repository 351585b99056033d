"""What an operator sees of the relay."""

from prometheus_client import CollectorRegistry, Counter, Gauge

from keyledger.contracts.ports import Clock
from keyledger_relay.progress import Progress


class Metrics:
    """Gauges that read the progress when they are scraped, and counters that the work itself raises."""

    def __init__(self, registry: CollectorRegistry, progress: Progress, clock: Clock) -> None:
        def gauge(name: str, says: str) -> Gauge:
            return Gauge(f"keyledger_relay_{name}", says, registry=registry)

        gauge("position", "Both ledger topics hold everything up to here.").set_function(lambda: progress.position)
        gauge("ledger_head", "The last position of the ledger, as last read.").set_function(lambda: progress.head)
        gauge("lag_positions", "Events in the ledger that are not on both topics yet.").set_function(
            lambda: progress.lag_positions
        )
        gauge("lag_seconds", "Age of the oldest event that is not on both topics yet.").set_function(
            lambda: progress.lag_seconds(clock.now())
        )
        self.sent = Counter(
            "keyledger_relay_records_sent", "Records acknowledged by the log.", ("topic",), registry=registry
        )
        self.retries = Counter(
            "keyledger_relay_retries", "Attempts that found it away.", ("dependency",), registry=registry
        )
