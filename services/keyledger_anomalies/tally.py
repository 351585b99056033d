"""What the detectors have read and said since the process started."""

import structlog
from prometheus_client import CollectorRegistry, Counter

from keyledger.detection.records import AttemptsRecord, Observed

log = structlog.get_logger(__name__)


class Tally:
    """Counters of one process. A gap in a node's numbers is also a log line: attempts that nobody has seen."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, text: str) -> Counter:
            return Counter(f"keyledger_detector_{name}", text, registry=registry)

        self._attempts = counter("attempts", "Verification attempts folded")
        self._records = counter("records", "Records of attempts folded")
        self._resent = counter("records_resent", "Records that came again and were skipped")
        self._lost = counter("records_lost", "Records missing between two numbers of one node's boot")
        self._alerts = counter("alerts", "Alerts said, the repeated ones too")

    def count(self, record: AttemptsRecord, observed: Observed) -> None:
        """Count one record that was read."""
        if observed.alerts:
            self._alerts.inc(len(observed.alerts))
        if observed.resent:
            self._resent.inc()
        elif observed.entries:
            self._records.inc()
            self._attempts.inc(len(record.attempts))
        if observed.lost:
            self._lost.inc(observed.lost)
            log.warning(
                "records of attempts were lost", sender=record.sender, partition=record.partition, records=observed.lost
            )
