"""What an operator sees of the directory's projection."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from keyledger.projections.runner import ProjectionRunner
from keyledger_directory.projector import DirectoryRow


class ProjectionMetrics(Collector):
    """Reads the runner's own counts when they are scraped."""

    def __init__(self, runner: ProjectionRunner[DirectoryRow]) -> None:
        self._runner = runner

    def collect(self) -> Iterator[Metric]:
        """Return the figures of now."""
        counts = self._runner.counts
        yield GaugeMetricFamily(
            "keyledger_directory_position", "The last position that lists reflect.", value=self._runner.position
        )
        yield CounterMetricFamily("keyledger_directory_events", "Events applied.", value=counts.applied)
        yield CounterMetricFamily("keyledger_directory_batches", "Transactions committed.", value=counts.batches)
        yield GaugeMetricFamily(
            "keyledger_directory_parked", "Keys whose next event cannot be folded.", value=len(self._runner.parked)
        )
        yield CounterMetricFamily(
            "keyledger_directory_rewinds", "Returns to the first offset of a topic made anew.", value=counts.rewinds
        )
        retries = CounterMetricFamily(
            "keyledger_directory_retries", "Attempts that found it away.", labels=["dependency"]
        )
        retries.add_metric(["log"], counts.log_retries)
        retries.add_metric(["database"], counts.read_model_retries)
        yield retries


def register(registry: CollectorRegistry, runner: ProjectionRunner[DirectoryRow]) -> None:
    """Show the runner's figures in this registry."""
    registry.register(ProjectionMetrics(runner))
