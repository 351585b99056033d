"""The embedded shell over a real file, ended at the worst moments."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy.ext.asyncio import AsyncEngine

from keyledger.contracts.alert import Alert
from keyledger.contracts.cloudevents import MalformedRecord
from keyledger.contracts.topics import ALERTS, AUTH_BY_SOURCE
from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord, Record
from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.sql import open_engine
from keyledger.runtime.clock import SystemClock
from keyledger_anomalies.detector_state import DetectorState
from keyledger_anomalies.loop import DetectorLoop
from keyledger_anomalies.tally import Tally
from tests.integration.anomalies.traffic import records_of
from tests.unit.detection.attempts import fold

DEADLINE_SECONDS = 120


class PowerCut(Exception):
    """The process ended here."""


class Said:
    """Takes alerts, and ends the process at a chosen call: before they are out, or after it, nothing committed yet."""

    def __init__(self, *, dies_at: int | None = None, before_they_are_out: bool = False) -> None:
        self.alerts = list[Alert]()
        self._left, self._before = dies_at, before_they_are_out

    async def publish(self, alerts: Sequence[Alert]) -> None:
        dies = self._dies()
        if not (dies and self._before):
            self.alerts.extend(alerts)
        if dies:
            raise PowerCut

    def _dies(self) -> bool:
        if self._left is not None:
            self._left -= 1
        return self._left == 0


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    log = await EmbeddedLog.open(tmp_path / "log.db")
    await log.ensure_topics([AUTH_BY_SOURCE, ALERTS])
    yield log
    await log.close()


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[AsyncEngine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'alerts.db'}")
    await DetectorState(engine).prepare()
    yield engine
    await engine.dispose()


async def send(log: EventLog, records: dict[int, list[Record]]) -> None:
    producer = await log.producer()
    for partition, each in records.items():
        await producer.send(AUTH_BY_SOURCE.name, partition, [NewRecord(r.key, r.value or b"", r.headers) for r in each])
    await producer.close()


async def follow(log: EventLog, engine: AsyncEngine, said: Said) -> None:
    """Run the loop until it has read everything, or ends by itself."""
    state = DetectorState(engine)
    loop = DetectorLoop(log, state, said.publish, clock=SystemClock(), tally=Tally(CollectorRegistry()))
    running = asyncio.create_task(loop.run())
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not running.done() and not await caught_up(log, state):  # noqa: ASYNC110 - asked, as a probe does
                await asyncio.sleep(0.01)
    finally:
        if not running.done():
            running.cancel()
        result = (await asyncio.gather(running, return_exceptions=True))[0]
    if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
        raise result


async def caught_up(log: EventLog, state: DetectorState) -> bool:
    for partition in range(AUTH_BY_SOURCE.partitions):
        offset, _ = await state.load(partition)
        if offset != (await log.bounds(AUTH_BY_SOURCE.name, partition))[1]:
            return False
    return True


async def test_the_loop_says_what_one_pure_pass_says(log: EmbeddedLog, engine: AsyncEngine) -> None:
    records = records_of(3, per_partition=30, attempts_each=50)
    await send(log, records)
    said = Said()
    await follow(log, engine, said)
    assert sorted(said.alerts, key=lambda alert: alert.id) == sorted(
        (alert for each in records.values() for alert in fold(each)[0]), key=lambda alert: alert.id
    )


@pytest.mark.postgres
async def test_it_keeps_what_it_remembers_in_postgres_too(log: EmbeddedLog, postgres_database: str) -> None:
    """As one process does whose ledger is there and whose log is a file."""
    engine = open_engine(postgres_database, schema="anomalies")
    await DetectorState(engine).prepare()
    records = records_of(3, per_partition=10, attempts_each=50)
    await send(log, records)
    said = Said()
    await follow(log, engine, said)
    await engine.dispose()
    assert {alert.id for alert in said.alerts} == {a.id for each in records.values() for a in fold(each)[0]}


@pytest.mark.parametrize("before_they_are_out", [True, False])
@pytest.mark.parametrize("dies_at", [1, 2, 3])
async def test_a_crash_around_an_alert_loses_none_and_says_no_other(
    log: EmbeddedLog, engine: AsyncEngine, *, dies_at: int, before_they_are_out: bool
) -> None:
    records = records_of(4, per_partition=30, attempts_each=50)
    await send(log, records)
    first, second = Said(dies_at=dies_at, before_they_are_out=before_they_are_out), Said()
    with pytest.raises(PowerCut):
        await follow(log, engine, first)
    await follow(log, engine, second)
    said = {alert.id: alert for alert in (*first.alerts, *second.alerts)}
    assert said == {alert.id: alert for each in records.values() for alert in fold(each)[0]}


async def test_a_log_that_lost_its_end_is_folded_anew(log: EmbeddedLog, engine: AsyncEngine, tmp_path: Path) -> None:
    records = records_of(6, per_partition=30, attempts_each=50)
    await send(log, records)
    await follow(log, engine, Said())
    cut = await EmbeddedLog.open(tmp_path / "after-the-power-cut.db")
    await cut.ensure_topics([AUTH_BY_SOURCE])
    said = Said()
    for part in (slice(20), slice(20, None)):  # what was left, and what came under the lost offsets since
        await send(cut, {partition: each[part] for partition, each in records.items()})
        await follow(cut, engine, said)
    assert {alert.id for alert in said.alerts} == {a.id for each in records.values() for a in fold(each)[0]}
    await cut.close()


async def test_alerts_that_are_not_acknowledged_are_published_until_they_are(
    log: EmbeddedLog, engine: AsyncEngine
) -> None:
    records = records_of(5, per_partition=5, attempts_each=50)
    await send(log, records)

    class Flaky(Said):
        failures = 2

        async def publish(self, alerts: Sequence[Alert]) -> None:
            if self.failures:
                self.failures -= 1
                raise LogUnavailable("away")
            await super().publish(alerts)

    said = Flaky()
    await follow(log, engine, said)
    assert {alert.id for alert in said.alerts} == {a.id for each in records.values() for a in fold(each)[0]}


async def test_a_second_loop_over_the_same_file_is_stopped_and_writes_nothing(engine: AsyncEngine) -> None:
    state = DetectorState(engine)
    await state.commit(0, expected=0, new=5, changed={"0/burst/x": b"theirs"})
    with pytest.raises(CheckpointMoved, match="expected next offset 0, found 5"):
        await state.commit(0, expected=0, new=3, changed={"0/burst/x": b"ours"})
    assert await state.load(0) == (5, {"0/burst/x": b"theirs"})


async def test_a_record_that_cannot_be_read_stops_the_loop_before_it(log: EmbeddedLog, engine: AsyncEngine) -> None:
    producer = await log.producer()
    await producer.send(AUTH_BY_SOURCE.name, 2, [NewRecord(None, b"no attempts")])
    await producer.close()
    with pytest.raises(MalformedRecord, match=r"auth-by-source\.v1/2 offset 0"):
        await follow(log, engine, Said())
    assert (await DetectorState(engine).load(2))[0] == 0
