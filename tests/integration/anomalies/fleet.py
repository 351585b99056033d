"""Detector processes over topics of one test alone, and what may be seen of them from outside."""

import asyncio
import os
import random
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from keyledger.contracts.alert import decode_alert
from keyledger.contracts.topics import ALERTS, AUTH_BY_SOURCE
from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.port import LogUnavailable, NewRecord, Producer, Reader, Record
from tests.unit.detection.attempts import fold

STANDSTILL_SECONDS: Final = 120
"""Nothing at all has moved for so long: a restart takes 10 s of session timeout and the start of a process."""

OWN_REASONS: Final = ("partitions were given away before their entries were written", "no progress for 30 s")
"""Why a detector ends itself, to be started again (services/keyledger_anomalies/README.md)."""


class DetectorEnded(AssertionError):
    """A detector process ended that should not have; with what it said."""


@dataclass(frozen=True)
class Detector:
    """A detector process and what it says."""

    process: asyncio.subprocess.Process
    log: Path

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def reads(self) -> bool:
        """Return True once it reads, False when it ended before."""
        assert self.process.stdout is not None
        async with asyncio.timeout(STANDSTILL_SECONDS):
            if await self.process.stdout.readline() == b"ready\n":
                return True
            await self.process.wait()
        return False


class Fleet:
    """Topics of this test alone, and detector processes that read them."""

    def __init__(self, bootstrap: str, data_dir: Path) -> None:
        self.bootstrap, self.data_dir = bootstrap, data_dir
        self.group = f"anomalies-{uuid.uuid4().hex[:8]}"
        self.attempts = msgspec.structs.replace(AUTH_BY_SOURCE, name=f"{self.group}.attempts")
        self.alerts = msgspec.structs.replace(ALERTS, name=f"{self.group}.alerts")
        self.log = KafkaLog(bootstrap)
        self.detectors = list[Detector]()
        self.kept: Detector | None = None
        self.reading = asyncio.Event()
        self.keeper: asyncio.Task[None] | None = None
        self._producer: Producer | None = None

    async def spawn(self, **environment: str) -> "Detector":
        """Start a detector."""
        folder = self.data_dir / uuid.uuid4().hex
        said = folder.with_suffix(".log")
        arguments = [self.bootstrap, str(folder), self.attempts.name, self.group, self.alerts.name]
        with said.open("wb") as stderr:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "tests.integration.anomalies.detector_process",
                *arguments,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **environment},
            )
        self.detectors.append(Detector(process, said))
        return self.detectors[-1]

    async def start(self, **environment: str) -> asyncio.subprocess.Process:
        """Start a detector and return once it reads. Raises DetectorEnded."""
        detector = await self.spawn(**environment)
        if not await detector.reads():
            raise DetectorEnded(detector.said)
        return detector.process

    async def keep_running(self) -> None:
        """Start a detector whenever none runs, as whoever deploys it does: it may be killed, or end for its reasons."""
        while True:
            self.kept = await self.spawn()
            if await self.kept.reads():
                self.reading.set()
            await self.kept.process.wait()
            self.reading.clear()
            killed = self.kept.process.returncode == -signal.SIGKILL
            if not killed and not any(reason in self.kept.said for reason in OWN_REASONS):
                raise DetectorEnded(self.kept.said)

    @asynccontextmanager
    async def kept_running(self) -> AsyncIterator[None]:
        """Keep a detector running; the body learns from ``check`` that none can be."""
        self.keeper = asyncio.create_task(self.keep_running())
        try:
            yield
        finally:
            self.keeper.cancel()
            await asyncio.wait([self.keeper])

    async def kill(self) -> None:
        """Kill the detector that is kept running, once it reads."""
        assert self.keeper is not None
        reading = asyncio.create_task(self.reading.wait())
        await asyncio.wait([reading, self.keeper], return_when=asyncio.FIRST_COMPLETED)
        reading.cancel()
        self.check()
        self.reading.clear()
        self.kill_now()

    def kill_now(self) -> None:
        """Kill the detector that is kept running, whether it reads already or not."""
        if self.kept is not None and self.kept.process.returncode is None:
            self.kept.process.kill()

    def check(self) -> None:
        """Raise where nobody reads any more, so that nobody waits for what cannot come."""
        if self.keeper is not None:
            if self.keeper.done():
                self.keeper.result()
        elif all(detector.process.returncode is not None for detector in self.detectors):
            raise DetectorEnded(self.last_words())

    async def send(self, partition: int, records: Sequence[Record]) -> None:
        if self._producer is None:
            self._producer = await self.log.producer()
        await self._producer.send(
            self.attempts.name, partition, [NewRecord(r.key, r.value or b"", r.headers) for r in records]
        )

    async def committed(self) -> dict[int, int]:
        """Return each partition's committed offset, of those that have one."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        try:
            await admin.start()
            found = await admin.list_consumer_group_offsets(self.group)
        except KafkaError:  # nobody has been a member yet, or nothing answers
            found = {}
        finally:
            await admin.close()
        return {place.partition: done.offset for place, done in found.items() if place.topic == self.attempts.name}

    async def standing(self) -> list[str]:
        """How far each partition is, a line each."""
        committed, lines = await self.committed(), list[str]()
        for partition in range(self.attempts.partitions):
            attempts, changelog = (
                await self._end(self.attempts.name, partition),
                await self._end(self.changelog, partition),
            )
            lines.append(
                f"partition {partition}: committed {committed.get(partition)} of {attempts}, "
                f"changelog of {changelog} entries"
            )
        return lines

    @property
    def changelog(self) -> str:
        return f"{self.group}-detector-changelog"

    async def _end(self, topic: str, partition: int) -> int | None:
        try:
            return (await self.log.bounds(topic, partition))[1]
        except LogUnavailable:
            return None

    def last_words(self) -> str:
        """What each process said last."""
        return "\n".join(
            f"-- detector {number}, exit code {detector.process.returncode}:\n{detector.said[-2000:]}"
            for number, detector in enumerate(self.detectors)
        )

    async def end_all(self) -> None:
        """Kill every detector that still runs."""
        for detector in self.detectors:
            if detector.process.returncode is None:
                detector.process.kill()
            await detector.process.communicate()

    async def close(self) -> None:
        await self.end_all()
        if self._producer is not None:
            await self._producer.close()
        await self.log.close()


class AlertsRead:
    """What the alerts' topic holds, each record as it came."""

    def __init__(self, reader: Reader, fleet: Fleet) -> None:
        self._reader, self._fleet = reader, fleet
        self.records, self.ids = list[Record](), set[str]()

    async def next_records(self) -> list[Record]:
        """Take and return what comes within a second."""
        more = await self._reader.poll(max_records=1000, timeout_seconds=1)
        self.records += more
        self.ids |= {decode_alert(each.value or b"").id for each in more}
        return more

    async def until(self, enough: Callable[[set[str]], bool]) -> None:
        """Read until it is enough; fail when the detectors are gone, or nothing has moved for STANDSTILL_SECONDS."""
        clock = asyncio.get_running_loop().time
        moved_at, seen = clock(), list[str]()
        while not enough(self.ids):
            self._fleet.check()
            if await self.next_records():
                moved_at = clock()
            elif (now_at := await self._fleet.standing()) != seen:
                moved_at, seen = clock(), now_at
            elif clock() - moved_at > STANDSTILL_SECONDS:
                standing = "\n".join(now_at)
                raise AssertionError(f"{len(self.ids)} alerts, and no more:\n{standing}\n{self._fleet.last_words()}")


@asynccontextmanager
async def opened(bootstrap: str, data_dir: Path) -> AsyncIterator[tuple[Fleet, AlertsRead]]:
    """Give a fleet without detectors whose topics are there, and what its alerts' topic will hold."""
    fleet = Fleet(bootstrap, data_dir)
    try:
        await fleet.log.ensure_topics([fleet.attempts, fleet.alerts])
        reader = await fleet.log.reader(fleet.alerts.name, 0, 0)
        try:
            yield fleet, AlertsRead(reader, fleet)
        finally:
            await reader.close()
    finally:
        await fleet.close()


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
