"""``python -m tests.faults [campaign ...] [--seed N] [--runs N] [--minutes M]``: break things, and look what holds.

Run n of a campaign has the seed N + n; ``--seed S --runs 1`` gives one run the same plan again. Exits 1 after a
violation.
"""

import argparse
import asyncio
import random
import shutil
import signal
import sys
import time
from typing import Final

from tests.faults.campaign import Campaign, Outcome, Stage, run_once
from tests.faults.registry import CAMPAIGNS
from tests.faults.small_disk import may_mount
from tests.providers.run import TestRun, reachable_folder
from tests.providers.shared import SharedServers

SHOWN_VIOLATIONS: Final = 10
SHOWN_STEPS: Final = 30
ALL_MINUTES: Final = 50.0
"""What all budgets together may be. The run in which one ends is still finished."""
HEADINGS: Final = ("campaign", "runs", "faults", "writes ok", "refused", "unknown", "violations", "seconds")


def main() -> int:
    """Run the campaigns that were asked for and return the exit code."""
    arguments = _arguments()
    named = {campaign.name: campaign for campaign in CAMPAIGNS}
    unknown = [name for name in arguments.campaign if name not in named]
    if unknown:
        sys.stderr.write(f"no such campaign: {', '.join(unknown)}; there are {', '.join(named)}\n")
        return 2
    chosen = [named[name] for name in arguments.campaign] or list(CAMPAIGNS)
    # On a slow machine each gets its part of the hour, and does fewer runs.
    share = min(1.0, ALL_MINUTES / sum(campaign.budget_minutes for campaign in chosen))
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    say(f"seed {seed}: the same campaigns with --seed {seed} follow the same plans")
    if not may_mount():
        chosen = [campaign for campaign in chosen if "mount" not in campaign.needs]
        say("left out: campaigns that need a small file system of their own, which this user may not make")
    for end in (signal.SIGINT, signal.SIGTERM):  # whatever was started is ended then, too
        signal.signal(end, signal.default_int_handler)
    run = TestRun.begin()
    try:
        rows = [
            _campaign(
                campaign,
                seed,
                SharedServers(run),
                runs=arguments.runs or campaign.runs,
                minutes=arguments.minutes or share * campaign.budget_minutes,
            )
            for campaign in chosen
        ]
    finally:
        run.end()
    say(_table(rows))
    return 1 if any(outcome.violations for _, _, outcome, _ in rows) else 0


def say(text: str) -> None:
    """Print at once, for whoever watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


Row = tuple[Campaign, int, Outcome, float]


def _campaign(campaign: Campaign, seed: int, servers: SharedServers, *, runs: int, minutes: float) -> Row:
    """Run one campaign until its runs are done or its time is over."""
    say(f"{campaign.name}: {campaign.breaks}")
    total, done, began = Outcome(), 0, time.monotonic()
    deadline = began + 60 * minutes
    while done < runs and (done == 0 or time.monotonic() < deadline):
        total.add(_run(campaign, seed + done, servers, f"{done + 1}/{runs}"))
        done += 1
    if done < runs:
        say(f"  {campaign.name}: its time is over after {done} of {runs} runs")
    return campaign, done, total, time.monotonic() - began


def _run(campaign: Campaign, seed: int, servers: SharedServers, number: str) -> Outcome:
    folder = reachable_folder()
    stage = Stage(seed, campaign.rounds, folder, servers)
    began = time.monotonic()
    try:
        outcome = asyncio.run(run_once(campaign, stage))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    say(
        f"  {number} seed {seed}: {outcome.faults} faults, {outcome.ok} ok, {outcome.failed} refused, "
        f"{outcome.unknown} unknown, {len(outcome.violations)} violations, {time.monotonic() - began:.1f} s"
    )
    if outcome.violations:
        more = "" if len(stage.said) <= SHOWN_STEPS else f" ... {len(stage.said)} steps"
        say(f"  the plan: {'; '.join(stage.said[:SHOWN_STEPS])}{more}")
        for violation in outcome.violations[:SHOWN_VIOLATIONS]:
            say(f"  VIOLATION: {violation}")
        say(f"  again: python -m tests.faults {campaign.name} --seed {seed} --runs 1")
    return outcome


def _table(rows: list[Row]) -> str:
    lines = [f"| {' | '.join(HEADINGS)} |", f"|---|{'---:|' * (len(HEADINGS) - 1)}"]
    for campaign, runs, outcome, seconds in rows:
        lines.append(_line(campaign.name, runs, outcome, seconds))
    total = Outcome()
    for _, _, outcome, _ in rows:
        total.add(outcome)
    lines.append(_line("together", sum(row[1] for row in rows), total, sum(row[3] for row in rows)))
    return "\n".join(lines)


def _line(name: str, runs: int, outcome: Outcome, seconds: float) -> str:
    figures = (runs, outcome.faults, outcome.ok, outcome.failed, outcome.unknown, len(outcome.violations))
    return f"| {name} | {' | '.join(f'{figure:,}' for figure in figures)} | {seconds:.0f} |"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("campaign", nargs="*", help="which ones; all of them if none is named")
    parser.add_argument("--seed", type=int, help="of the first run of each campaign; a random one if not given")
    parser.add_argument("--runs", type=int, help="how many of each campaign instead of its own number")
    parser.add_argument("--minutes", type=float, help="how long each campaign may take instead of its own budget")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
