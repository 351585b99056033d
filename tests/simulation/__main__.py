"""``python -m tests.simulation``: run many schedules, look for planted bugs, or replay one seed."""

import argparse
import sys
from time import perf_counter

from tests.simulation import campaign, schedule
from tests.simulation.parts import Parts
from tests.simulation.plants import PLANTS
from tests.simulation.quiet import logging_to


def main(arguments: list[str]) -> int:
    """Do what is asked; return 1 where something was violated, or a planted bug was not found."""
    asked = _parser().parse_args(arguments)
    if asked.seed is not None:
        return _replay(asked.seed, asked.plant, trace=asked.trace)
    if asked.plants or asked.plant:
        return _plants([asked.plant] if asked.plant else list(PLANTS), asked.first, asked.schedules, asked.workers)
    return _run(asked.first, asked.schedules, asked.workers)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument(
        "--schedules", type=int, default=2_000, help="how many, or at most until a planted bug is found"
    )
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--workers", type=int, default=2, help="processes to run them on")
    parser.add_argument("--plants", action="store_true", help="look for each planted bug")
    parser.add_argument("--plant", choices=sorted(PLANTS), help="look for this planted bug, or replay a seed with it")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--trace", action="store_true", help="tell each call, fault and log line of the replay")
    return parser


def _replay(seed: int, plant: str | None, *, trace: bool) -> int:
    tell = print if trace else None
    with campaign.bench() as bench, logging_to(tell):
        result = schedule.run(seed, bench, PLANTS[plant].parts() if plant else Parts(), tell=tell)
    _say(f"seed {seed}: {result.steps} steps, {result.calls} calls, {result.virtual_seconds:.1f} virtual seconds, ")
    _say(f"trace {result.digest:08x}: {result.violation or 'no violation'}\n")
    return result.violation is not None


def _plants(names: list[str], first: int, most: int, workers: int) -> int:
    _say(
        "| planted bug | found in schedule | what was seen | replay: `python -m tests.simulation` |\n"
        "|---|---:|---|---|\n"
    )
    results = campaign.found(names, first=first, most=most, workers=workers)
    for name, result in results.items():
        if result is None:
            _say(f"| {name}: {PLANTS[name].says} | not in {most:,} | | |\n")
        else:
            replay = f"`--seed {result.seed} --plant {name} --trace`"
            _say(f"| {name}: {PLANTS[name].says} | {result.seed - first + 1} | {result.violation} | {replay} |\n")
    return None in results.values()


def _run(first: int, count: int, workers: int) -> int:
    began = perf_counter()
    total = campaign.run(first, count, workers=workers)
    seconds = perf_counter() - began
    _say(f"{total.schedules:,} schedules from seed {first:,} in {seconds:,.0f} s on {workers} processes, ")
    _say(f"{total.schedules / seconds:,.0f}/s: {len(total.violations)} violations\n{campaign.line(total)}\n")
    _say(f"\n{campaign.table(total)}\n")
    for seed, violation in total.violations:
        _say(f"\nseed {seed}: {violation}\n  python -m tests.simulation --seed {seed} --trace\n")
    return bool(total.violations)


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
