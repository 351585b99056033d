"""The Faust shell on a real broker, killed and handed over while it reads."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from keyledger.contracts.alert import Alert
from keyledger.contracts.ports import Clock
from keyledger.eventlog.kafka_security import PLAINTEXT
from keyledger.runtime.clock import SystemClock
from keyledger_anomalies.alerts import Publish
from keyledger_anomalies.faust_app import DetectorFailed, FaustDetector
from keyledger_anomalies.tally import Tally
from keyledger_anomalies.watchdog import DetectorStalled
from tests.integration.anomalies.fleet import AlertsRead, Fleet, clean_pass, feed
from tests.integration.anomalies.traffic import records_of
from tests.unit.detection.attempts import attempt, record
from tests.unit.projections.following import until

pytestmark = pytest.mark.kafka

DEADLINE_SECONDS = 120
STALL_SECONDS = 600
"""Long enough for any machine to join the group and to recover; a test that waits for it hurries its clock."""


@pytest.fixture
async def fleet(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(kafka_bootstrap, tmp_path)
    await fleet.log.ensure_topics([fleet.attempts, fleet.alerts])
    yield fleet
    await fleet.close()


@pytest.fixture
async def read(fleet: Fleet) -> AsyncIterator[AlertsRead]:
    reader = await fleet.log.reader(fleet.alerts.name, 0, 0)
    yield AlertsRead(reader, fleet)
    await reader.close()


async def test_a_killed_detector_says_the_same_alerts_as_one_that_was_not(fleet: Fleet, read: AlertsRead) -> None:
    records = records_of(1, per_partition=150, attempts_each=40)
    expected = clean_pass(records)
    feeding = asyncio.create_task(feed(fleet, records, resends=True))
    async with fleet.kept_running():
        for share in (0.2, 0.5, 0.8):
            await read.until(partial(_holds, round(share * len(expected))))
            await fleet.kill()
        await feeding
        await read.until(expected.issubset)
    assert read.ids == expected
    assert len({each.value for each in read.records}) == len(expected), "said again, it is the same to the byte"


async def test_partitions_that_are_handed_over_give_the_same_alerts(fleet: Fleet, read: AlertsRead) -> None:
    records = records_of(2, per_partition=150, attempts_each=40)
    expected = clean_pass(records)
    first = await fleet.start()
    feeding = asyncio.create_task(feed(fleet, records, resends=False))
    await fleet.start()
    await feeding
    first.terminate()
    await read.until(expected.issubset)
    assert read.ids == expected


async def test_a_record_that_cannot_be_read_ends_the_process_and_is_not_skipped(fleet: Fleet) -> None:
    burst = record([attempt(n, n) for n in range(5)], number=1, offset=0)
    broken = msgspec.structs.replace(burst, value=b"no attempts")
    await fleet.send(0, [broken, burst])
    for _ in range(2):
        process = await fleet.start()
        async with asyncio.timeout(DEADLINE_SECONDS):
            await process.wait()
        assert process.returncode == 1
        assert f"{fleet.attempts.name}/0 offset 0: no record of attempts" in fleet.last_words()


async def test_what_stands_before_a_record_that_cannot_be_read_is_said(fleet: Fleet, read: AlertsRead) -> None:
    burst = record([attempt(n, n) for n in range(5)], number=1, offset=0)
    await fleet.send(0, [burst, msgspec.structs.replace(burst, value=b"no attempts")])
    process = await fleet.start()
    async with asyncio.timeout(DEADLINE_SECONDS):
        await process.wait()
        await read.next_records()
    assert read.ids == clean_pass({0: [burst]})
    assert f"{fleet.attempts.name}/0 offset 1: no record of attempts" in fleet.last_words()


class Hurried(SystemClock):
    """Time that goes ``speed`` times as fast as ours."""

    def __init__(self) -> None:
        self._speed, self._from = 1.0, (super().monotonic(), super().monotonic())

    def hurry(self, speed: float) -> None:
        self._from, self._speed = (super().monotonic(), self.monotonic()), speed

    def monotonic(self) -> float:
        real, ours = self._from
        return ours + (super().monotonic() - real) * self._speed

    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / self._speed)


def detector_here(fleet: Fleet, publish: Publish, clock: Clock | None = None) -> FaustDetector:
    return FaustDetector(
        bootstrap=fleet.bootstrap,
        security=PLAINTEXT,
        data_dir=fleet.data_dir / "faust",
        event_log=fleet.log,
        publish=publish,
        clock=clock or SystemClock(),
        tally=Tally(CollectorRegistry()),
        topic=fleet.attempts,
        group=fleet.group,
        stall_seconds=STALL_SECONDS,
    )


async def cannot_publish(fleet: Fleet) -> asyncio.Task[None]:
    """Return a detector that runs, and waits in vain for the acknowledgement of the alerts of one burst."""
    publishing = asyncio.Event()

    async def never_acknowledged(_alerts: Sequence[Alert]) -> None:
        publishing.set()
        await asyncio.Event().wait()

    await fleet.send(1, [record([attempt(n, n) for n in range(5)], number=1, offset=0, partition=1)])
    running = asyncio.create_task(detector_here(fleet, never_acknowledged).run())
    async with asyncio.timeout(DEADLINE_SECONDS):
        await publishing.wait()
    return running


async def test_a_detector_that_has_not_written_when_its_partitions_go_ends_itself(fleet: Fleet) -> None:
    """Else its table write would land after those of the next owner, and take back what that one counted."""
    first = await cannot_publish(fleet)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await fleet.start()
        with pytest.raises(DetectorFailed, match="before their entries were written"):
            await first


async def test_the_offset_of_what_is_folded_and_not_written_is_not_committed(fleet: Fleet) -> None:
    running = await cannot_publish(fleet)
    async with asyncio.timeout(DEADLINE_SECONDS):
        await fleet.send(2, [record([attempt(9, 9)], number=1, offset=0, partition=2)])
        while (committed := await fleet.committed()).get(2) != 1:
            assert not running.done()
    assert committed == {2: 1}
    running.cancel()
    await asyncio.wait([running])


async def test_lag_without_progress_ends_the_detector_with_what_it_is_behind_by(fleet: Fleet) -> None:
    async def never_acknowledged(_alerts: Sequence[Alert]) -> None:
        await asyncio.Event().wait()

    await fleet.send(1, [record([attempt(n, n) for n in range(5)], number=1, offset=0, partition=1)])
    clock = Hurried()
    detector = detector_here(fleet, never_acknowledged, clock)
    running = asyncio.create_task(detector.run())
    await until(lambda: detector.unready() is None, running)
    clock.hurry(200)
    with pytest.raises(DetectorStalled, match="no progress for 600 s: partition 1 at 0 of 1"):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await running


async def test_a_detector_with_nothing_to_read_is_not_taken_for_a_stalled_one(fleet: Fleet) -> None:
    """The second starts behind nothing: what the topic holds was read by the first."""
    said = list[str]()

    async def publish(alerts: Sequence[Alert]) -> None:
        said.extend(alert.id for alert in alerts)

    await fleet.send(1, [record([attempt(n, n) for n in range(5)], number=1, offset=0, partition=1)])
    first = asyncio.create_task(detector_here(fleet, publish).run())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await fleet.committed()).get(1) != 1:
            assert not first.done()
    first.cancel()
    await asyncio.wait([first])
    clock = Hurried()
    detector = detector_here(fleet, publish, clock)
    second = asyncio.create_task(detector.run())
    await until(lambda: detector.unready() is None, second)
    clock.hurry(500)
    for _ in range(3):
        await clock.sleep(STALL_SECONDS)
        assert not second.done()
    second.cancel()
    await asyncio.wait([second])
    assert len(said) == 1


def _holds(count: int, ids: set[str]) -> bool:
    return len(ids) >= count
