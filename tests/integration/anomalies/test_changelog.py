"""In which order a lane writes, and what it does when the log is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence

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
        self.open, self.asked = asyncio.Event(), asyncio.Event()
        self.open.set()
        self.at_each: Callable[[], object] = lambda: None

    async def _told(self, step: str) -> None:
        self.asked.set()
        await self.open.wait()
        self.at_each()
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


async def test_alerts_come_before_entries_and_the_offset_last(lane: ChangelogLane, told: Told) -> None:
    told.at_each = lambda: told.steps.append(f"written {lane.written}")
    lane.add(observed(alert(1), k=b"v"), ["old"], 8)
    await emptied(lane)
    steps = ["alerts 1", "changelog/3 b'k'=b'v'", "forget 3 ['old']"]
    assert told.steps == ["written 0", steps[0], "written 0", steps[1], "written 0", steps[2]]
    assert lane.written == 8


async def test_nothing_counts_as_written_that_a_log_that_was_away_did_not_take(lane: ChangelogLane, told: Told) -> None:
    told.away = 3
    lane.add(observed(alert(1), k=b"v"), ["old"], 8)
    await emptied(lane)
    assert told.steps == ["alerts 1", "changelog/3 b'k'=b'v'", "forget 3 ['old']"]
    assert lane.written == 8


async def test_what_waits_is_written_together_with_the_last_of_each_key(lane: ChangelogLane, told: Told) -> None:
    for name in ("r1", "r2", "r3"):
        lane.add(observed(alert(int(name[1])), a=name.encode(), b=b"x"), (), int(name[1]))
    await emptied(lane)
    assert told.steps == ["alerts 1 2 3", "changelog/3 b'a'=b'r3' b'b'=b'x'"]
    assert lane.written == 3


async def test_an_entry_that_is_written_again_is_not_forgotten(lane: ChangelogLane, told: Told) -> None:
    lane.add(observed(z=b"1"), ["k"], 1)
    lane.add(observed(k=b"new"), (), 2)
    await emptied(lane)
    assert told.steps == ["changelog/3 b'z'=b'1' b'k'=b'new'"]


async def test_what_comes_while_a_batch_is_on_its_way_is_not_counted_with_it(lane: ChangelogLane, told: Told) -> None:
    told.open.clear()
    lane.add(observed(k=b"1"), (), 1)
    await told.asked.wait()
    lane.add(observed(k=b"2"), (), 2)
    told.at_each = lambda: told.steps.append(f"written {lane.written}")
    told.open.set()
    await emptied(lane)
    assert told.steps == ["written 0", "changelog/3 b'k'=b'1'", "written 1", "changelog/3 b'k'=b'2'"]
    assert lane.written == 2


async def test_a_lane_that_cannot_write_makes_the_fold_wait(lane: ChangelogLane, told: Told) -> None:
    told.open.clear()
    filling = asyncio.create_task(fill(lane, 3 * MAX_WAITING_RECORDS))
    await told.asked.wait()
    done, _ = await asyncio.wait([filling], timeout=0.2)
    assert not done
    told.open.set()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await filling


async def fill(lane: ChangelogLane, records: int) -> None:
    for number in range(records):
        await lane.room()
        lane.add(observed(k=b"v"), (), number + 1)


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
