"""In which order a lane writes, and what it does when the log is away."""

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from functools import partial

import pytest

from keyledger.contracts.alert import Alert
from keyledger.detection.records import Observed
from keyledger.eventlog.port import LogUnavailable, NewRecord
from keyledger.runtime.clock import SystemClock
from keyledger_anomalies.changelog import MAX_WAITING_RECORDS, ChangelogLane
from keyledger_anomalies.watchdog import DetectorStalled, watch_progress
from tests.integration.anomalies.alerts import alert

DEADLINE_SECONDS = 120


class Told:
    """A log that writes down what it is told, and is away for as many calls as it is set to."""

    def __init__(self) -> None:
        self.steps = list[str]()
        self.away = 0
        self.open = asyncio.Event()
        self.open.set()

    async def _told(self, step: str) -> None:
        await self.open.wait()
        if self.away:
            self.away -= 1
            raise LogUnavailable("away")
        self.steps.append(step)

    async def publish(self, alerts: Sequence[Alert]) -> None:
        await self._told("alerts " + " ".join(each.id[-1] for each in alerts))

    async def send(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        await self._told(f"{topic}/{partition} " + " ".join(f"{r.key!r}={r.value!r}" for r in records))
        return 0

    async def forget(self, partition: int, keys: Collection[str]) -> None:
        await self._told(f"forget {partition} {sorted(keys)}")

    async def close(self) -> None: ...

    def written(self, name: str) -> None:
        self.steps.append(f"acknowledged {name}")


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def lane(told: Told) -> AsyncIterator[ChangelogLane]:
    lane = ChangelogLane(told, "changelog", 3, publish=told.publish, forget=told.forget, clock=SystemClock())
    running = asyncio.create_task(lane.run())
    yield lane
    running.cancel()


def observed(*alerts: Alert, **entries: bytes) -> Observed:
    return Observed(entries, alerts, 0, resent=False)


async def emptied(lane: ChangelogLane) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        await lane.empty()


async def test_alerts_come_before_entries_and_the_acknowledgement_last(lane: ChangelogLane, told: Told) -> None:
    await lane.put(observed(alert(1), k=b"v"), ["old"], lambda: told.written("r1"))
    await emptied(lane)
    assert told.steps == ["alerts 1", "changelog/3 b'k'=b'v'", "forget 3 ['old']", "acknowledged r1"]


async def test_nothing_is_acknowledged_that_a_log_that_was_away_did_not_take(lane: ChangelogLane, told: Told) -> None:
    told.away = 3
    await lane.put(observed(alert(1), k=b"v"), ["old"], lambda: told.written("r1"))
    await emptied(lane)
    assert told.steps == ["alerts 1", "changelog/3 b'k'=b'v'", "forget 3 ['old']", "acknowledged r1"]


async def test_what_waits_is_written_together_with_the_last_of_each_key(lane: ChangelogLane, told: Told) -> None:
    for name in ("r1", "r2", "r3"):
        await lane.put(observed(alert(int(name[1])), a=name.encode(), b=b"x"), (), partial(told.written, name))
    await emptied(lane)
    acknowledged = ["acknowledged r1", "acknowledged r2", "acknowledged r3"]
    assert told.steps == ["alerts 1 2 3", "changelog/3 b'a'=b'r3' b'b'=b'x'", *acknowledged]


async def test_an_entry_that_is_written_again_is_not_forgotten(lane: ChangelogLane, told: Told) -> None:
    await lane.put(observed(z=b"1"), ["k"], partial(told.written, "r1"))
    await lane.put(observed(k=b"new"), (), partial(told.written, "r2"))
    await emptied(lane)
    assert told.steps == ["changelog/3 b'z'=b'1' b'k'=b'new'", "acknowledged r1", "acknowledged r2"]


async def test_a_lane_that_cannot_write_makes_the_fold_wait(lane: ChangelogLane, told: Told) -> None:
    told.open.clear()
    filling = asyncio.create_task(fill(lane, 3 * MAX_WAITING_RECORDS))
    done, _ = await asyncio.wait([filling], timeout=0.2)
    assert not done
    told.open.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await filling


async def fill(lane: ChangelogLane, records: int) -> None:
    for _ in range(records):
        await lane.put(observed(k=b"v"), (), lambda: None)


class Hours:
    """A clock that is moved by waiting for it."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> int:
        return int(self.seconds * 1_000_000)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        if self.seconds > 10_000:
            raise Quiet


class Quiet(Exception):
    """Hours went by without a complaint."""


@pytest.mark.parametrize(
    ("moves", "left", "expected"),
    [(True, ["lag"], Quiet), (False, [], Quiet), (False, ["partition 1 at 0 of 1"], DetectorStalled)],
)
async def test_only_lag_without_progress_is_a_stall(*, moves: bool, left: list[str], expected: type[Exception]) -> None:
    clock = Hours()

    def progress() -> Mapping[int, int]:
        return {1: int(clock.seconds) if moves else 0}

    async def behind() -> list[str]:
        return left

    with pytest.raises(expected):
        await watch_progress(progress, behind, clock=clock, stall_seconds=120)
    assert expected is Quiet or 120 <= clock.seconds < 140
