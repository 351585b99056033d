"""Many schedules, on several processors, and what came of them."""

import multiprocessing
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

from msgspec import Struct, field

from tests.simulation import schedule
from tests.simulation.parts import Parts
from tests.simulation.plants import PLANTS
from tests.simulation.quiet import collecting_by_hand, logging_to
from tests.simulation.schedule import Result
from tests.simulation.system import Bench

CHUNK: Final = 250
_COLLECT_EVERY: Final = 40
_IN_MEMORY: Final = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


class Sum(Struct):
    """What many schedules came to."""

    schedules: int = 0
    steps: list[int] = field(default_factory=list)
    calls: list[int] = field(default_factory=list)
    virtual_seconds: float = 0.0
    happened: Counter[str] = field(default_factory=Counter)
    violations: list[tuple[int, str]] = field(default_factory=list)

    def add(self, result: Result) -> None:
        """Count one schedule."""
        self.schedules += 1
        self.steps.append(result.steps)
        self.calls.append(result.calls)
        self.virtual_seconds += result.virtual_seconds
        self.happened += result.happened
        if result.violation is not None:
            self.violations.append((result.seed, result.violation))

    def join(self, other: "Sum") -> None:
        """Add what other schedules came to."""
        self.schedules += other.schedules
        self.steps += other.steps
        self.calls += other.calls
        self.virtual_seconds += other.virtual_seconds
        self.happened += other.happened
        self.violations += other.violations


@contextmanager
def bench() -> Iterator[Bench]:
    """Give what schedules run on; its files are in memory where the machine has such a folder."""
    parent = _IN_MEMORY if _IN_MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="keyledger-simulation-", dir=parent) as folder:
        made = Bench(Path(folder))
        try:
            yield made
        finally:
            made.close()


def results(seeds: Iterable[int], plant: str | None = None) -> Iterator[Result]:
    """Run a schedule for each seed, in silence."""
    parts = Parts() if plant is None else PLANTS[plant].parts()
    with bench() as made, logging_to(None), collecting_by_hand() as collect:
        for number, seed in enumerate(seeds):
            yield schedule.run(seed, made, parts)
            if number % _COLLECT_EVERY == 0:
                collect()


def until_found(plant: str, *, first: int, most: int) -> Result | None:
    """Return the first schedule that shows a planted bug; None where none does."""
    return next((one for one in results(range(first, first + most), plant) if one.violation is not None), None)


def _chunk(seeds: range) -> Sum:
    total = Sum()
    for result in results(seeds):
        total.add(result)
    return total


def run(first: int, count: int, *, workers: int) -> Sum:
    """Run so many schedules from a seed on, and say how it goes."""
    total, began = Sum(), perf_counter()
    chunks = [range(start, min(start + CHUNK, first + count)) for start in range(first, first + count, CHUNK)]
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for done in pool.map(_chunk, chunks):
            total.join(done)
            if total.schedules % (20 * CHUNK) == 0 or done.violations:
                rate = total.schedules / (perf_counter() - began)
                sys.stderr.write(f"{total.schedules:9,} schedules, {rate:.0f}/s, {len(total.violations)} violations\n")
    return total


def found(plants: list[str], *, first: int, most: int, workers: int) -> dict[str, Result | None]:
    """Return the first schedule that shows each planted bug."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        running = {plant: pool.submit(until_found, plant, first=first, most=most) for plant in plants}
        return {plant: future.result() for plant, future in running.items()}


def table(total: Sum) -> str:
    """Return what happened in all schedules, the most frequent first."""
    kinds = Counter[str]()
    for what, count in total.happened.items():
        name, _, fate = what.rpartition(" ")
        kinds[f"call failed {_FATES[fate]}" if fate in _FATES else name + " " + fate] += count
    lines = [f"| {name.strip()} | {count:,} |" for name, count in kinds.most_common()]
    return "\n".join(("| what happened | times |", "|---|---:|", *lines))


def line(total: Sum) -> str:
    """Return the size of what was run."""
    return (
        f"steps a schedule: least {min(total.steps):,}, median {median(total.steps):,.0f}, all {sum(total.steps):,}; "
        f"calls: least {min(total.calls)}, median {median(total.calls):,.0f}, all {sum(total.calls):,}; "
        f"virtual time {total.virtual_seconds / 3600:,.0f} h"
    )


_FATES: Final = {"before": "before its effect", "after": "after its effect", "late": "and took effect later"}
