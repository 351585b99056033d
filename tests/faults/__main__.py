"""``python -m tests.faults [campaign ...] [--seed N] [--runs N] [--minutes M] [--lanes L]``: break things, and look.

Run n of a campaign has the seed N + n; ``--seed S --runs 1`` gives one run the same plan again. Exits 1 after a
violation.
"""

import argparse
import random
import signal
import sys
from typing import Final

from tests.faults.lanes import Done, Lanes
from tests.faults.registry import CAMPAIGNS
from tests.faults.rights import lacking_right
from tests.faults.tally import LANES, Tally
from tests.providers.run import TestRun
from tests.providers.shared import SharedServers

SHOWN_VIOLATIONS: Final = 10
SHOWN_STEPS: Final = 30


def main() -> int:
    """Run the campaigns that were asked for and return the exit code."""
    arguments = _arguments()
    named = {campaign.name: campaign for campaign in CAMPAIGNS}
    unknown = [name for name in arguments.campaign if name not in named]
    if unknown:
        sys.stderr.write(f"no such campaign: {', '.join(unknown)}; there are {', '.join(named)}\n")
        return 2
    chosen = [named[name] for name in arguments.campaign] or list(CAMPAIGNS)
    seed = random.randrange(1_000_000) if arguments.seed is None else arguments.seed
    say(f"seed {seed}: the same campaigns with --seed {seed} follow the same plans")
    lacking = {campaign: lacking_right(campaign) for campaign in chosen}
    for campaign, why in lacking.items():
        if why is not None:
            say(f"left out: {campaign.name}: {why}")
    possible = [campaign for campaign, why in lacking.items() if why is None]
    tally = Tally(possible, seed, arguments.lanes, runs=arguments.runs, minutes=arguments.minutes)
    for end in (signal.SIGINT, signal.SIGTERM):  # whatever was started is ended then, too
        signal.signal(end, signal.default_int_handler)
    run = TestRun.begin()
    try:
        with Lanes(arguments.lanes, SharedServers(run)) as lanes:
            for done in lanes.done(tally.jobs()):
                tally.add(done)
                say(f"{tally.progress()} {_line(done)}")
    finally:
        run.end()
        say(tally.summary())
    return 1 if tally.violations else 0


def say(text: str) -> None:
    """Print at once, for whoever watches."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _line(done: Done) -> str:
    outcome, job = done.outcome, done.job
    line = (
        f"{job.campaign} seed {job.seed}: {outcome.faults} faults, {outcome.ok} ok, {outcome.failed} refused, "
        f"{outcome.unknown} unknown, {len(outcome.violations)} violations, {done.seconds:.1f} s"
    )
    if not outcome.violations:
        return line
    more = "" if len(done.said) <= SHOWN_STEPS else f" ... {len(done.said)} steps"
    return "\n".join(
        [
            line,
            f"  the plan: {'; '.join(done.said[:SHOWN_STEPS])}{more}",
            *(f"  VIOLATION: {violation}" for violation in outcome.violations[:SHOWN_VIOLATIONS]),
            f"  what it left: {done.left}",
            f"  again: python -m tests.faults {job.campaign} --seed {job.seed} --runs 1",
        ]
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("campaign", nargs="*", help="which ones; all of them if none is named")
    parser.add_argument("--seed", type=int, help="of the first run of each campaign; a random one if not given")
    parser.add_argument("--runs", type=int, help="how many of each campaign instead of its own number")
    parser.add_argument("--minutes", type=float, help="how long each campaign may take instead of its own budget")
    parser.add_argument("--lanes", type=int, default=LANES, help="how many runs go on side by side")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
