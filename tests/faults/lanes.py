"""Runs side by side, each in a process of its own: what one waits for is the time in which another one works."""

import asyncio
import logging
import multiprocessing
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Final, Self, TypeAlias

from tests.faults.campaign import Outcome, Stage, run_once
from tests.faults.registry import CAMPAIGNS
from tests.providers.run import reachable_folder
from tests.providers.shared import SharedServers

Pipe: TypeAlias = "Connection[Any, Any]"
CLEARED_SECONDS: Final = 60.0
"""How long a lane that is told to end may take to end what its run has started."""


@dataclass(frozen=True)
class Job:
    """One run of a campaign."""

    campaign: str
    seed: int
    rounds: int


@dataclass(frozen=True)
class Done:
    """What a run has shown: ``said`` is its plan."""

    job: Job
    outcome: Outcome
    said: list[str]
    seconds: float
    left: Path | None = None
    """What a run with violations left, with its services' logs."""


class LaneEnded(RuntimeError):
    """A process that does runs has ended by itself."""


class Lanes:
    """Processes that do one run after the other."""

    def __init__(self, number: int, servers: SharedServers) -> None:
        """``servers`` are asked for by whichever run needs one first."""
        context = multiprocessing.get_context("spawn")
        pipes = [context.Pipe() for _ in range(number)]
        self._ours, self._theirs = [ours for ours, _ in pipes], [theirs for _, theirs in pipes]
        self._processes = [context.Process(target=_work, args=(lane, servers), daemon=True) for lane in self._theirs]

    def __enter__(self) -> Self:
        for process, lane in zip(self._processes, self._theirs, strict=True):
            process.start()
            lane.close()  # else its end would not be seen
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join(CLEARED_SECONDS)
            process.kill()  # for one that has not ended by then; else nothing

    def done(self, jobs: Iterator[Job]) -> Iterator[Done]:
        """Give each run as it is done. The next job is asked for when a lane is free. Raises LaneEnded."""
        busy = [lane for lane in self._ours if _begins(lane, jobs)]
        while busy:
            ready = wait(busy)
            for lane in [lane for lane in busy if lane in ready]:
                try:
                    done: Done = lane.recv()
                except (EOFError, ConnectionResetError):
                    raise LaneEnded("a process that did a run has ended in it") from None
                yield done
                if not _begins(lane, jobs):
                    busy.remove(lane)


def _begins(lane: Pipe, jobs: Iterator[Job]) -> bool:
    """Give the lane its next job, if there is one."""
    job = next(jobs, None)
    if job is not None:
        lane.send(job)
    return job is not None


def _work(jobs: Pipe, servers: SharedServers) -> None:
    """Do one run after the other, until nobody gives any."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is the first process's, which then ends this one
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whatever was started is ended then, too
    logging.disable()  # what libraries warn of is what the runs break
    try:
        while True:
            jobs.send(_run(jobs.recv(), servers))
    except (EOFError, KeyboardInterrupt):
        return


def _run(job: Job, servers: SharedServers) -> Done:
    (campaign,) = (campaign for campaign in CAMPAIGNS if campaign.name == job.campaign)
    folder = reachable_folder()
    stage = Stage(job.seed, job.rounds, folder, servers)
    began = time.monotonic()
    left: Path | None = None
    try:
        outcome = asyncio.run(run_once(campaign, stage))
        left = folder if outcome.violations else None
    finally:
        if left is None:
            shutil.rmtree(folder, ignore_errors=True)
    return Done(job, outcome, stage.said, time.monotonic() - began, left)
