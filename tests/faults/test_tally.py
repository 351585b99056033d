"""Every campaign has its turn, and nobody's time is lost."""

from collections.abc import Iterator

from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.lanes import Done, Job
from tests.faults.tally import Tally


async def _nothing(_stage: Stage) -> Outcome:
    return Outcome()


def a_campaign(name: str, *, runs: int, minutes: float = 1.0) -> Campaign:
    return Campaign(name=name, breaks="nothing", run=_nothing, runs=runs, rounds=1, budget_minutes=minutes)


def a_tally(*campaigns: Campaign, minutes: float | None = None) -> Tally:
    return Tally(campaigns, 100, 2, runs=None, minutes=minutes)


def names(tally: Tally, *, seconds: float = 1.0) -> Iterator[str]:
    """Give the runs' names, each of which takes so many seconds."""
    for job in tally.jobs():
        yield f"{job.campaign} {job.seed}"
        tally.add(Done(job, Outcome(faults=2, ok=3), [], seconds))


def test_each_campaign_has_run_once_before_any_runs_again() -> None:
    tally = a_tally(a_campaign("a", runs=1), a_campaign("b", runs=3), a_campaign("c", runs=2))
    assert list(names(tally)) == ["a 100", "b 100", "c 100", "b 101", "c 101", "b 102"]


def test_a_campaign_that_was_short_of_time_has_what_the_others_leave() -> None:
    tally = a_tally(a_campaign("slow", runs=3, minutes=0.1), a_campaign("b", runs=3))
    assert list(names(tally, seconds=10)) == ["slow 100", "b 100", "b 101", "b 102", "slow 101", "slow 102"]


def test_a_time_that_was_asked_for_is_kept() -> None:
    tally = a_tally(a_campaign("slow", runs=3), minutes=0.1)
    assert list(names(tally, seconds=10)) == ["slow 100"]
    assert "slow: 1 of 3 runs were done" in tally.summary()


def test_the_table_has_a_line_for_each_campaign_and_one_for_all() -> None:
    tally = a_tally(a_campaign("a", runs=1), a_campaign("b", runs=2))
    assert list(names(tally))
    assert "| `b` | 2 | 4 | 6 | 0 | 0 | 0 | 2 |" in tally.summary().splitlines()
    assert "| together | 3 | 6 | 9 | 0 | 0 | 0 | 3 |" in tally.summary().splitlines()


def test_a_violation_is_counted() -> None:
    tally = a_tally(a_campaign("a", runs=1))
    tally.add(Done(Job("a", 100, 1), Outcome(violations=["a write is missing"]), [], 1.0))
    assert tally.violations == ["a write is missing"]
