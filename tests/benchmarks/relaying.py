"""Events a second from the ledger to both topics, against the log alone that is handed the same records ready-made."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any

from infra.local import start_kafka, start_postgres
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from keyledger.runtime.collecting import collect_seldom
from keyledger.runtime.process import loop_factory
from keyledger_relay.feeds import FEEDS
from keyledger_relay.relay import BATCH_EVENTS, IN_PROCESS_BATCH_EVENTS
from tests.benchmarks.report import Row
from tests.integration.relay.profiles import Profile
from tests.unit.relay.kit import append_keys, relay_of, running

KEYS = 60_000
APPENDED_AT_ONCE = 5_000


def measure(folder: Path) -> list[Row]:
    """Return the rows of both profiles."""
    collect_seldom()  # as every process of ours does
    embedded = ("one process", f"sqlite:///{folder / 'ledger.db'}", f"sqlite:///{folder / 'log.db'}")
    rows = _run(of_profile(*embedded))
    kafka, postgres = start_kafka(folder / "kafka"), start_postgres(folder / "postgres", trust=True)
    try:
        return rows + _run(of_profile("Kafka and Postgres", postgres.url, f"kafka://{kafka.bootstrap}"))
    finally:
        kafka.stop()
        postgres.stop()


def _run(measured: Coroutine[Any, Any, list[Row]]) -> list[Row]:
    with asyncio.Runner(loop_factory=loop_factory()) as runner:  # the event loop of the product
        return runner.run(measured)


async def of_profile(name: str, ledger_url: str, log_url: str) -> list[Row]:
    """Return the log alone as the ceiling, and the relay."""
    apart = log_url.startswith("kafka")
    batch_events = BATCH_EVENTS if apart else IN_PROCESS_BATCH_EVENTS
    ready_made = partial(_ready_made, batch_events=batch_events)
    filled = await Profile(ledger_url, log_url, "warm.").migrated()
    async with filled.opened() as (ledger, log):
        for number in range(KEYS // APPENDED_AT_ONCE):
            await append_keys(ledger, APPENDED_AT_ONCE, prefix=f"{number:02}")
        await ready_made(ledger, log)  # warms up, the broker's compiler above all
    ceiling, ceiling_cpu = await _rate(Profile(ledger_url, log_url, "ceiling."), ready_made)
    relayed, relay_cpu = await _rate(
        Profile(ledger_url, log_url, "relay."), partial(_relay, batch_events=batch_events, works_ahead=apart)
    )
    cpu = f"{relay_cpu:.1f} us of this process's time an event, {ceiling_cpu:.1f} of them for the log alone"
    return [
        Row(f"{name}: events/s to both topics, records ready-made", ceiling),
        Row(f"{name}: events/s to both topics, relayed from the ledger", relayed, relayed / ceiling, cpu),
    ]


async def _rate(
    profile: Profile, work: Callable[[Ledger, EventLog], Awaitable[tuple[float, float]]]
) -> tuple[float, float]:
    """Return events a second, and microseconds of processor time for each."""
    async with profile.opened() as (ledger, log):
        seconds, cpu_seconds = await work(ledger, log)
        return KEYS / seconds, cpu_seconds / KEYS * 1e6


async def _relay(ledger: Ledger, log: EventLog, *, batch_events: int, works_ahead: bool) -> tuple[float, float]:
    relay = relay_of(ledger, log, batch_events=batch_events, works_ahead=works_ahead)
    began, cpu = time.perf_counter(), time.process_time()
    async with running(relay):
        while relay.progress.position < KEYS:  # noqa: ASYNC110 - a measurement
            await asyncio.sleep(0.005)
        return time.perf_counter() - began, time.process_time() - cpu


async def _ready_made(ledger: Ledger, log: EventLog, *, batch_events: int) -> tuple[float, float]:
    producers = [await log.producer() for _ in FEEDS]
    seconds = cpu_seconds = 0.0
    for after in range(0, KEYS, batch_events):
        entries = await ledger.read(after, limit=batch_events)
        made = [feed.records(entries, ledger.store_id) for feed in FEEDS]
        began, cpu = time.perf_counter(), time.process_time()
        sends = zip(producers, FEEDS, made, strict=True)
        await asyncio.gather(*(producer.send(feed.topic, 0, records) for producer, feed, records in sends))
        seconds, cpu_seconds = seconds + time.perf_counter() - began, cpu_seconds + time.process_time() - cpu
    for producer in producers:
        await producer.close()
    return seconds, cpu_seconds
