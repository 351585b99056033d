"""Which run comes next, how long the rest will take, and what all of them have shown."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.campaign import Campaign, Outcome
from tests.faults.lanes import Done, Job

LANES: Final = 2
ALL_MINUTES: Final = 56.0
"""After that no run is begun, so that all of it is over within an hour."""
HEADINGS: Final = ("campaign", "runs", "faults", "writes ok", "refused", "unknown", "violations", "seconds")


@dataclass
class Row:
    """One campaign: what its runs have shown, and how many are still to come."""

    campaign: Campaign
    runs: int
    budget_seconds: float
    begun: int = 0
    done: int = 0
    seconds: float = 0.0
    outcome: Outcome = field(default_factory=Outcome)

    @property
    def expected_seconds(self) -> float:
        """How long the runs will take that are not done."""
        own = 60 * self.campaign.budget_minutes / self.campaign.runs
        each = self.seconds / self.done if self.done else own
        return each * (self.runs - self.done)

    def line(self) -> str:
        """Return it as a line of the table."""
        return _line(f"`{self.campaign.name}`", self.done, self.outcome, self.seconds)


class Tally:
    """The campaigns by turns, a run of each: however early it ends, every one has run."""

    def __init__(
        self, campaigns: Sequence[Campaign], seed: int, lanes: int, *, runs: int | None, minutes: float | None
    ) -> None:
        """``runs`` and ``minutes``: of each campaign instead of its own."""
        self._rows = {
            campaign.name: Row(campaign, runs or campaign.runs, 60 * (minutes or campaign.budget_minutes))
            for campaign in campaigns
        }
        self._seed, self._lanes, self._strict = seed, lanes, minutes is not None
        self._began = time.monotonic()

    def jobs(self) -> Iterator[Job]:
        """Give the next run until each campaign has had its runs or its time, or the hour is over.

        Of an hour that is not over then, those have the rest that had not the time for all of their runs.
        """
        yield from self._by_turns(lambda row: row.seconds < row.budget_seconds)
        if not self._strict:
            yield from self._by_turns(lambda _row: True)

    def _by_turns(self, may: Callable[[Row], bool]) -> Iterator[Job]:
        more = True
        while more:
            more = False
            for row in self._rows.values():
                if row.begun < row.runs and (not row.begun or (may(row) and self._elapsed < 60 * ALL_MINUTES)):
                    more = True
                    row.begun += 1
                    yield Job(row.campaign.name, self._seed + row.begun - 1, row.campaign.rounds)

    def add(self, done: Done) -> None:
        """Take down a run that is over."""
        row = self._rows[done.job.campaign]
        row.done += 1
        row.seconds += done.seconds
        row.outcome.add(done.outcome)

    @property
    def violations(self) -> list[str]:
        """All of them."""
        return [violation for row in self._rows.values() for violation in row.outcome.violations]

    def progress(self) -> str:
        """Say how many runs are done, and for how long it has been and will be going on."""
        rows = self._rows.values()
        left = sum(row.expected_seconds for row in rows) / self._lanes
        return (
            f"[{sum(row.done for row in rows)}/{sum(row.runs for row in rows)} runs, "
            f"{self._elapsed / 60:.0f} min, {left / 60:.0f} min left]"
        )

    def summary(self) -> str:
        """Return the table, as it stands in the README, and what was not done."""
        short = [
            f"{row.campaign.name}: {row.done} of {row.runs} runs were done"
            for row in self._rows.values()
            if row.done < row.runs
        ]
        return "\n".join(
            [
                f"| {' | '.join(HEADINGS)} |",
                f"|---|{'---:|' * (len(HEADINGS) - 1)}",
                *(row.line() for row in self._rows.values()),
                self._together(),
                f"{self._elapsed / 60:.1f} minutes, {self._lanes} runs side by side",
                *short,
            ]
        )

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _together(self) -> str:
        rows, outcome = self._rows.values(), Outcome()
        for row in rows:
            outcome.add(row.outcome)
        return _line("together", sum(row.done for row in rows), outcome, sum(row.seconds for row in rows))


def _line(name: str, runs: int, outcome: Outcome, seconds: float) -> str:
    figures = (runs, outcome.faults, outcome.ok, outcome.failed, outcome.unknown, len(outcome.violations))
    return f"| {name} | {' | '.join(f'{figure:,}' for figure in figures)} | {seconds:,.0f} |"
