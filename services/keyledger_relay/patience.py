"""Waiting for a dependency that is away: for ever, less and less often, and without noise."""

from typing import Final

import structlog
from prometheus_client import Counter

from keyledger.contracts.ports import Clock

FIRST_SECONDS: Final = 0.05
LONGEST_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)


class Patience:
    """Of all loops with one dependency. Logs when it went away and when it came back, and counts in between."""

    def __init__(self, dependency: str, clock: Clock, retries: Counter) -> None:
        self._dependency = dependency
        self._clock = clock
        self._retries = retries.labels(dependency)
        self._away_since: float | None = None
        self._delay_seconds = FIRST_SECONDS

    async def failed(self, error: Exception) -> None:
        """Take note of a failure, and return when it is time to try again."""
        self._retries.inc()
        if self._away_since is None:
            self._away_since = self._clock.monotonic()
            log.warning("dependency is away, retrying", dependency=self._dependency, error=str(error))
        delay = self._delay_seconds
        self._delay_seconds = min(2 * delay, LONGEST_SECONDS)
        await self._clock.sleep(delay)

    def succeeded(self) -> None:
        """Take note that it answers."""
        if self._away_since is not None:
            seconds = self._clock.monotonic() - self._away_since
            log.info("dependency is back", dependency=self._dependency, seconds=round(seconds, 3))
            self._away_since = None
            self._delay_seconds = FIRST_SECONDS
