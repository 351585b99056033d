"""Attempts a second through the Faust detector, exact over a kill, and the time from an attempt to its alert."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiokafka import AIOKafkaConsumer, TopicPartition

from infra.local import start_kafka
from keyledger.contracts.alert import decode_alert
from keyledger.detection.records import observe_record, read_attempts
from keyledger.eventlog.port import Record
from tests.benchmarks.processor import cpu_seconds
from tests.benchmarks.report import Row, quantile
from tests.integration.anomalies.fleet import AlertsRead, Fleet, clean_pass, opened
from tests.integration.anomalies.traffic import LAST_SOURCE, PARTITIONS, records_of
from tests.unit.detection.attempts import attempt, record

SIZES = {50: 600_000, 10: 320_000, 1: 120_000}
"""Attempts a record -> attempts in all: a busy node fills its records, an idle one sends nearly each attempt alone."""

WARMING = 20_000
"""Attempts, each in a record, before anything is measured: the broker's compiler is warm then."""

PACED_PER_SECOND = 500
PACED_SECONDS = 10
BURST = 5
SHARES = (0.5, 0.9, 0.95, 0.99, 1.0)


def measure(folder: Path) -> list[Row]:
    """Return a row for the plain loop and for Faust at each size, one for the kill, one for the delay."""
    kafka = start_kafka(folder / "kafka")
    try:
        return asyncio.run(_all(kafka.bootstrap, folder))
    finally:
        kafka.stop()


async def _all(bootstrap: str, folder: Path) -> list[Row]:
    rows = list[Row]()
    await _passes(bootstrap, folder, 1, WARMING)
    for each, count in SIZES.items():
        passes = await _passes(bootstrap, folder, each, count)
        plain, plain_cpu, faust, faust_cpu = (count / seconds for seconds in passes)
        what = f"attempts/s, {each} a record, a quarter failed"
        rows += [
            Row(f"a getmany loop with the same fold, writing nothing: {what}", plain, note=_on_a_core(plain_cpu)),
            Row(f"Faust detector: {what}", faust, faust / plain, _on_a_core(faust_cpu)),
        ]
    rows.append(await _over_a_kill(bootstrap, folder))
    return [*rows, await _delay(bootstrap, folder)]


async def _passes(bootstrap: str, folder: Path, each: int, count: int) -> tuple[float, ...]:
    """Return the seconds of a plain pass, elapsed and of processor time, and those of the detector's."""
    records = records_of(each, per_partition=count // each // PARTITIONS, attempts_each=each)
    async with _filled(bootstrap, folder, records) as (fleet, read):
        return (*await _plainly(fleet), *await _by_faust(fleet, read, clean_pass(records)))


@asynccontextmanager
async def _filled(
    bootstrap: str, folder: Path, records: dict[int, list[Record]]
) -> AsyncIterator[tuple[Fleet, AlertsRead]]:
    async with opened(bootstrap, folder) as (fleet, read):
        for partition, each in records.items():
            for start in range(0, len(each), 500):
                await fleet.send(partition, each[start : start + 500])
        yield fleet, read


def _on_a_core(rate: float) -> str:
    return f"{rate:,.0f}/s of processor time: a core of its own"


async def _plainly(fleet: Fleet) -> tuple[float, float]:
    """Return the seconds of one pass by aiokafka alone, and those of processor time.

    What Faust, the alerts and the table cost is on top of it.
    """
    consumer = AIOKafkaConsumer(bootstrap_servers=fleet.bootstrap, enable_auto_commit=False)
    places = [TopicPartition(fleet.attempts.name, partition) for partition in range(PARTITIONS)]
    await consumer.start()
    try:
        consumer.assign(places)
        await consumer.seek_to_beginning(*places)
        left = sum((await consumer.end_offsets(places)).values())
        entries = dict[str, bytes]()
        started, used = time.perf_counter(), time.process_time()
        while left:
            for place, page in (await consumer.getmany(timeout_ms=1000)).items():
                for one in page:
                    found = Record(
                        place.topic, place.partition, one.offset, one.timestamp, one.key, one.value, one.headers
                    )
                    entries.update(observe_record(read_attempts(found), entries).entries)
                left -= len(page)
        return time.perf_counter() - started, time.process_time() - used
    finally:
        await consumer.stop()


async def _by_faust(fleet: Fleet, read: AlertsRead, expected: set[str]) -> tuple[float, float]:
    """Return the seconds from when the detector reads until its last alert is in the log, and of processor time."""
    process = await fleet.start()
    started, used = time.time(), cpu_seconds(process.pid)
    await read.until(expected.issubset)
    assert read.ids == expected
    said_at = max(one.timestamp for one in read.records) / 1000
    return said_at - started, cpu_seconds(process.pid) - used


async def _over_a_kill(bootstrap: str, folder: Path) -> Row:
    each, count = 50, 600_000
    records = records_of(9, per_partition=count // each // PARTITIONS, attempts_each=each)
    expected = clean_pass(records)
    async with _filled(bootstrap, folder, records) as (fleet, read), fleet.kept_running():
        await fleet.reading.wait()
        started = time.time()
        await read.until(lambda ids: 2 * len(ids) >= len(expected))
        await fleet.kill()
        await read.until(expected.issubset)
        seconds = max(one.timestamp for one in read.records) / 1000 - started
        missing, strange = len(expected - read.ids), len(read.ids - expected)
    what = f"Faust detector, killed in the middle: attempts/s, {each} a record, session and restart included"
    note = f"of {len(expected)} alerts {missing} missing, {strange} that should not be"
    return Row(what, count / seconds, note=note)


async def _delay(bootstrap: str, folder: Path) -> Row:
    """Send bursts, each a record, and look when the alert of each can be read."""
    async with _filled(bootstrap, folder, {}) as (fleet, read):
        await fleet.start()
        await _paced(fleet, read, PACED_PER_SECOND)  # the broker's compiler is warm then
        delays = await _paced(fleet, read, PACED_PER_SECOND * PACED_SECONDS)
    shares = ", ".join(f"p{share * 100:g} {quantile(delays, share):.1f}" for share in SHARES)
    what = f"Faust detector: attempt sent -> its alert read, p95 in ms, {PACED_PER_SECOND} attempts/s"
    return Row(what, quantile(delays, 0.95), note=f"{len(delays)} alerts: {shares}")


async def _paced(fleet: Fleet, read: AlertsRead, count: int) -> list[float]:
    loop = asyncio.get_running_loop()
    first = sum([(await fleet.log.bounds(fleet.attempts.name, number))[1] for number in range(PARTITIONS)])
    bursts, sent_at, read_at = count // BURST, dict[str, float](), dict[str, float]()

    async def send(number: int) -> None:
        source = f"{LAST_SOURCE}{number}"
        sent_at[source] = loop.time()
        failed = [attempt(number * BURST + n, n, source=source) for n in range(BURST)]
        partition, boot = number % PARTITIONS, f"boot-{number}"
        await fleet.send(partition, [record(failed, number=1, offset=0, boot=boot, partition=partition)])

    async def receive() -> None:
        while len(read_at) < bursts:
            for one in await read.next_records():
                read_at[decode_alert(one.value or b"").subject] = loop.time()

    receiving = asyncio.create_task(receive())
    async with asyncio.TaskGroup() as sending:
        started = loop.time()
        for number in range(bursts):
            await asyncio.sleep(started + number * BURST / PACED_PER_SECOND - loop.time())
            sending.create_task(send(first + number))
    await receiving
    return [(read_at[source] - at) * 1000 for source, at in sent_at.items()]
