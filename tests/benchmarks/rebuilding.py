"""Events a second from the log into an empty read model, against reading the same log and doing nothing with it."""

import asyncio
import time
from pathlib import Path
from typing import Any

from infra.local import start_kafka
from keyledger.contracts.topics import LEDGER
from keyledger.domain.identifiers import resource_id
from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Append
from keyledger.projections.port import Projection, ReadModel
from keyledger.projections.runner import MAX_BATCH, ProjectionRunner
from keyledger.projections.sql import open_engine
from keyledger.runtime.clock import SystemClock
from keyledger.runtime.collecting import collect_seldom
from keyledger.testing.memory_ledger import MemoryStore
from keyledger.verification.index import open_index
from keyledger.verification.projector import VerificationProjection
from keyledger_directory.projector import KeyDirectory
from keyledger_directory.store import DirectoryStore
from keyledger_relay.feeds import PRIVATE
from tests.benchmarks.report import Row
from tests.unit.relay.kit import ORGANIZATION, key_created

KEYS = 100_000
DIRECTORY_KEYS = 20_000
SENT_AT_ONCE = 900
STORE = "a" * 32


def measure(folder: Path) -> list[Row]:
    """Return the rows of both logs."""
    for fed in ("fed-embedded", "fed-kafka"):
        (folder / fed).mkdir()
    collect_seldom()  # as every process of ours does
    rows = asyncio.run(of_log("embedded log", f"sqlite:///{folder / 'log.db'}", folder / "fed-embedded"))
    kafka = start_kafka(folder / "kafka")
    try:
        return rows + asyncio.run(of_log("Kafka", f"kafka://{kafka.bootstrap}", folder / "fed-kafka"))
    finally:
        kafka.stop()


async def of_log(name: str, url: str, folder: Path) -> list[Row]:
    """Return the log read alone, the verification index and the directory (in a SQLite file)."""
    log = await open_log(url)
    try:
        await log.ensure_topics([LEDGER])
        await _fill(log)
        await _read(log)  # warms up
        alone, _ = await _read(log)
        index = open_index(folder, generation=1, size_mb=1024)
        verified, cpu = await _rebuild(VerificationProjection(), index, log, KEYS)
        index.close()
        store = DirectoryStore(open_engine(f"sqlite:///{folder / 'directory.db'}"))
        await store.prepare()
        listed, listed_cpu = await _rebuild(KeyDirectory(), store, log, DIRECTORY_KEYS)
        await store.close()
    finally:
        await log.close()
    return [
        Row(f"{name}: events/s read", alone),
        Row(f"{name}: events/s into the verification index", verified, verified / alone, f"{cpu:.1f} us each"),
        Row(f"{name}: events/s into the directory", listed, listed / alone, f"{listed_cpu:.1f} us each"),
    ]


async def _fill(log: EventLog) -> None:
    store = MemoryStore(STORE)
    store.commit([_append(number) for number in range(1, KEYS + 1)], now=1_760_000_000_000_000)
    producer = await log.producer()
    for first in range(0, KEYS, SENT_AT_ONCE):
        await producer.send(LEDGER.name, 0, PRIVATE.records(store.entries[first : first + SENT_AT_ONCE], STORE))
    await producer.close()


def _append(number: int) -> Append:
    # Ids as they are: of a UUIDv7, so that they rise with time.
    key_id = resource_id("key", (number << 68) | (number * 0x9E3779B97F4A7C15 & (1 << 62) - 1))
    return Append(
        append_id=f"{number:032}",
        organization_id=ORGANIZATION,
        stream=key_id,
        expected_version=0,
        events=(key_created(key_id),),
        request_id=f"req_{number:024}",
        actor_user="user_" + "3" * 22,
        actor_key="key_" + "4" * 22,
    )


async def _read(log: EventLog) -> tuple[float, float]:
    reader = await log.reader(LEDGER.name, 0, 0)
    began, cpu = time.perf_counter(), time.process_time()
    left = KEYS
    while left:
        left -= len(await reader.poll(max_records=MAX_BATCH, timeout_seconds=5))
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    await reader.close()
    return KEYS / seconds, cpu_seconds / KEYS * 1e6


async def _rebuild(
    projection: Projection[Any], read_model: ReadModel[Any], log: EventLog, until: int
) -> tuple[float, float]:
    """Return events a second, and microseconds of processor time for each."""
    runner = ProjectionRunner(projection, read_model, log, clock=SystemClock())
    began, cpu = time.perf_counter(), time.process_time()
    async with asyncio.timeout(120):
        await runner.reach(until)
    seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu
    return until / seconds, cpu_seconds / until * 1e6
