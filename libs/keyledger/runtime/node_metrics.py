"""What an operator sees of a verifier node."""

from collections.abc import Iterator

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from keyledger.contracts.ports import Clock
from keyledger.verification.node import VerifierNode


class NodeMetrics(Collector):
    """Reads the node's own figures when they are scraped."""

    def __init__(self, node: VerifierNode, clock: Clock) -> None:
        self._node, self._clock = node, clock

    def collect(self) -> Iterator[Metric]:
        """Return the figures of now."""
        freshness, sink, counts = self._node.freshness, self._node.sink, self._node.runner.counts
        now = self._clock.now()
        yield GaugeMetricFamily(
            "keyledger_verifier_position", "The last ledger position that verdicts know of.", value=freshness.position
        )
        if freshness.fresh_as_of is not None:
            age_seconds = (now - freshness.fresh_as_of) / 1_000_000
            yield GaugeMetricFamily(
                "keyledger_verifier_age_seconds", "How long ago the node was provably up to date.", value=age_seconds
            )
        yield GaugeMetricFamily(
            "keyledger_verifier_stale", "1 while the node cannot prove that it is fresh.", value=freshness.is_stale(now)
        )
        yield GaugeMetricFamily(
            "keyledger_verifier_answers_stale",
            "1 where the operator chose that it answers also while stale.",
            value=freshness.on_stale == "allow",
        )
        yield CounterMetricFamily("keyledger_verifier_events", "Events applied.", value=counts.applied)
        yield GaugeMetricFamily(
            "keyledger_verifier_parked",
            "Keys, owners, roles and organizations whose next event cannot be folded: what needs them is denied.",
            value=len(self._node.runner.parked),
        )
        yield CounterMetricFamily(
            "keyledger_verifier_log_retries", "Reads that found no log.", value=counts.log_retries
        )
        yield CounterMetricFamily(
            "keyledger_verifier_refused_heads", "Heads that were not believed.", value=freshness.refused_heads
        )
        verdicts = CounterMetricFamily("keyledger_verifier_verdicts", "Verdicts given.", labels=["code"])
        for code, count in self._node.verdicts.items():
            verdicts.add_metric([code], count)
        yield verdicts
        yield GaugeMetricFamily(
            "keyledger_verifier_attempts_waiting", "Attempts not acknowledged yet, each topic's.", value=sink.waiting
        )
        yield CounterMetricFamily(
            "keyledger_verifier_attempts_acknowledged", "Attempts the log holds, each topic's.", value=sink.acknowledged
        )
        yield CounterMetricFamily(
            "keyledger_verifier_attempts_dropped", "Attempts that found the buffer full.", value=sink.dropped
        )
