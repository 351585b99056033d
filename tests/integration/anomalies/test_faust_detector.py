"""The Faust shell on a real broker, killed and handed over while it reads."""

import asyncio
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry

from keyledger.contracts.alert import Alert, decode_alert
from keyledger.contracts.topics import ALERTS, AUTH_BY_SOURCE
from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.kafka_security import PLAINTEXT
from keyledger.eventlog.port import NewRecord, Producer, Reader, Record
from keyledger.runtime.clock import SystemClock
from keyledger_anomalies.alerts import Publish
from keyledger_anomalies.faust_app import DetectorFailed, FaustDetector
from keyledger_anomalies.tally import Tally
from keyledger_anomalies.watchdog import DetectorStalled
from tests.integration.anomalies.traffic import records_of
from tests.unit.detection.attempts import attempt, fold, record

pytestmark = pytest.mark.kafka

DEADLINE_SECONDS = 120
OWN_REASONS = ("partitions were given away before their entries were written", "no progress for 30 s")
"""Why a detector ends itself, to be started again (services/keyledger_anomalies/README.md)."""


class Fleet:
    """Topics of this test alone, and detector processes that read them."""

    def __init__(self, bootstrap: str, data_dir: Path) -> None:
        self.bootstrap, self.data_dir = bootstrap, data_dir
        self.group = f"anomalies-{uuid.uuid4().hex[:8]}"
        self.attempts = msgspec.structs.replace(AUTH_BY_SOURCE, name=f"{self.group}.attempts")
        self.alerts = msgspec.structs.replace(ALERTS, name=f"{self.group}.alerts")
        self.log = KafkaLog(bootstrap)
        self.processes = list[asyncio.subprocess.Process]()
        self.reading = asyncio.Event()
        self._producer: Producer | None = None

    async def start(self) -> asyncio.subprocess.Process:
        """Start a detector and return once it reads."""
        folder = self.data_dir / uuid.uuid4().hex
        arguments = [self.bootstrap, str(folder), self.attempts.name, self.group, self.alerts.name]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "tests.integration.anomalies.detector_process",
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.processes.append(process)
        assert process.stdout is not None
        async with asyncio.timeout(DEADLINE_SECONDS):
            assert await process.stdout.readline() == b"ready\n", await process.stderr.read() if process.stderr else b""
        return process

    async def keep_running(self) -> None:
        """Start a detector whenever none runs, as whoever deploys it does: it may be killed, or end for its reasons."""
        while True:
            process = await self.start()
            self.reading.set()
            _, said = await process.communicate()
            self.reading.clear()
            killed = process.returncode == -signal.SIGKILL
            assert killed or any(reason in said.decode() for reason in OWN_REASONS), said.decode()

    async def send(self, partition: int, records: Sequence[Record]) -> None:
        if self._producer is None:
            self._producer = await self.log.producer()
        await self._producer.send(
            self.attempts.name, partition, [NewRecord(r.key, r.value or b"", r.headers) for r in records]
        )

    async def close(self) -> None:
        for process in self.processes:
            if process.returncode is None:
                process.kill()
            await process.communicate()
        if self._producer is not None:
            await self._producer.close()
        await self.log.close()


@pytest.fixture
async def fleet(kafka_bootstrap: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    fleet = Fleet(kafka_bootstrap, tmp_path)
    await fleet.log.ensure_topics([fleet.attempts, fleet.alerts])
    yield fleet
    await fleet.close()


class AlertsRead:
    """What the alerts' topic holds, each record as it came."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self.records = list[Record]()

    @property
    def ids(self) -> set[str]:
        return {decode_alert(each.value or b"").id for each in self.records}

    async def until(self, enough: Callable[[set[str]], bool]) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not enough(self.ids):
                self.records += await self._reader.poll(max_records=1000, timeout_seconds=1)


@pytest.fixture
async def read(fleet: Fleet) -> AsyncIterator[AlertsRead]:
    reader = await fleet.log.reader(fleet.alerts.name, 0, 0)
    yield AlertsRead(reader)
    await reader.close()


def clean_pass(records: dict[int, list[Record]]) -> set[str]:
    """The ids that one undisturbed pass over the same records gives."""
    return {alert.id for each in records.values() for alert in fold(each)[0]}


async def feed(fleet: Fleet, records: dict[int, list[Record]], *, resends: bool) -> None:
    """Send the records in small steps, now and then the last one once more, as a node does that got no answer."""
    chance = random.Random(7)
    for start in range(0, max(map(len, records.values())), 5):
        for partition, each in records.items():
            step = each[start : start + 5]
            await fleet.send(partition, [*step, step[-1]] if resends and chance.random() < 0.3 else step)


async def test_a_killed_detector_says_the_same_alerts_as_one_that_was_not(fleet: Fleet, read: AlertsRead) -> None:
    records = records_of(1, per_partition=150, attempts_each=40)
    expected = clean_pass(records)
    feeding = asyncio.create_task(feed(fleet, records, resends=True))
    kept = asyncio.create_task(fleet.keep_running())
    for share in (0.2, 0.5, 0.8):
        await read.until(partial(_holds, round(share * len(expected)), kept))
        assert not kept.done(), kept.exception()
        await asyncio.wait_for(fleet.reading.wait(), DEADLINE_SECONDS)
        fleet.processes[-1].kill()
    await feeding
    await read.until(lambda ids: kept.done() or expected <= ids)
    assert not kept.done(), kept.exception()
    kept.cancel()
    await asyncio.wait([kept])
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
            _, said = await process.communicate()
        assert process.returncode == 1
        assert f"{fleet.attempts.name}/0 offset 0: no record of attempts" in said.decode()


def detector_here(fleet: Fleet, publish: Publish, *, stall_seconds: float) -> FaustDetector:
    return FaustDetector(
        bootstrap=fleet.bootstrap,
        security=PLAINTEXT,
        data_dir=fleet.data_dir / "faust",
        event_log=fleet.log,
        publish=publish,
        clock=SystemClock(),
        tally=Tally(CollectorRegistry()),
        topic=fleet.attempts,
        group=fleet.group,
        stall_seconds=stall_seconds,
    )


async def test_a_detector_that_has_not_written_when_its_partitions_go_ends_itself(fleet: Fleet) -> None:
    """Else its table write would land after those of the next owner, and take back what that one counted."""
    publishing = asyncio.Event()

    async def never_acknowledged(_alerts: Sequence[Alert]) -> None:
        publishing.set()
        await asyncio.Event().wait()

    await fleet.send(1, [record([attempt(n, n) for n in range(5)], number=1, offset=0, partition=1)])
    first = asyncio.create_task(detector_here(fleet, never_acknowledged, stall_seconds=600).run())
    async with asyncio.timeout(DEADLINE_SECONDS):
        await publishing.wait()
        await fleet.start()
        with pytest.raises(DetectorFailed, match="before their entries were written"):
            await first


async def test_lag_without_progress_ends_the_detector_with_what_it_is_behind_by(fleet: Fleet) -> None:
    async def never_acknowledged(_alerts: Sequence[Alert]) -> None:
        await asyncio.Event().wait()

    await fleet.send(1, [record([attempt(n, n) for n in range(5)], number=1, offset=0, partition=1)])
    detector = detector_here(fleet, never_acknowledged, stall_seconds=6)
    with pytest.raises(DetectorStalled, match="no progress for 6 s: partition 1 at 0 of 1"):
        async with asyncio.timeout(DEADLINE_SECONDS):
            await detector.run()


async def test_a_detector_with_nothing_to_read_is_not_taken_for_a_stalled_one(fleet: Fleet) -> None:
    """The second starts behind nothing: what the topic holds was read by the first."""
    said = list[str]()

    async def publish(alerts: Sequence[Alert]) -> None:
        said.extend(alert.id for alert in alerts)

    await fleet.send(1, [record([attempt(n, n) for n in range(5)], number=1, offset=0, partition=1)])
    first = asyncio.create_task(detector_here(fleet, publish, stall_seconds=60).run())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not said:  # noqa: ASYNC110 - asked, as a probe does
            await asyncio.sleep(0.02)
    first.cancel()
    await asyncio.wait([first])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(14):
            await detector_here(fleet, publish, stall_seconds=6).run()
    assert len(set(said)) == 1


def _holds(count: int, kept: asyncio.Task[None], ids: set[str]) -> bool:
    return kept.done() or len(ids) >= count
