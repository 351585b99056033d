"""Appends a second at 1, 8 and 32 callers, against the same ledger one by one."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from infra.local import start_postgres
from keyledger.contracts.registry import encode
from keyledger.contracts.samples import SAMPLES
from keyledger.domain.events import KeyCreated
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Append, Ledger
from keyledger.runtime.clock import SystemClock, SystemRandomness
from tests.benchmarks.report import Row, quantile

SECONDS = 2.0
EVENT = encode(next(sample for sample in SAMPLES if isinstance(sample, KeyCreated)))

AppendOne = Callable[[Append], Awaitable[object]]


async def measure(folder: Path, *, callers: Sequence[int] = (1, 8, 32)) -> list[Row]:
    """Return the rows for both ledgers, each on a disk that syncs."""
    rows = await _of_ledger("SQLite", f"sqlite:///{folder / 'ledger.db'}", callers)
    postgres = start_postgres(folder / "postgres", trust=True)
    try:
        return rows + await _of_ledger("Postgres", postgres.url, callers)
    finally:
        postgres.stop()


async def _of_ledger(name: str, url: str, callers: Sequence[int]) -> list[Row]:
    await migrate(url)
    ledger = await open_ledger(url, clock=SystemClock())
    try:
        one_by_one, _ = await _rate(_serialised(ledger), 32)
        rows = [Row(f"{name}: appends/s, 32 callers, one by one under the lock", one_by_one)]
        for number in callers:
            rate, latencies = await _rate(ledger.append, number)
            note = f"p50 {quantile(latencies, 0.5):.2f} ms, p99 {quantile(latencies, 0.99):.2f} ms"
            rows.append(Row(f"{name}: appends/s, {number} callers", rate, rate / one_by_one, note))
        return rows
    finally:
        await ledger.close()


def _serialised(ledger: Ledger) -> AppendOne:
    lock = asyncio.Lock()

    async def append(item: Append) -> object:
        async with lock:  # so that never more than one waits: each append is a transaction of its own
            return await ledger.append(item)

    return append


async def _rate(append: AppendOne, callers: int) -> tuple[float, list[float]]:
    """Return appends per second and their latencies (ms)."""
    randomness = SystemRandomness()
    latencies: list[float] = []
    end = time.perf_counter() + SECONDS

    async def caller() -> None:
        while (start := time.perf_counter()) < end:
            item = Append(
                append_id=randomness.token_hex(16),
                organization_id="org",
                stream=randomness.resource_id("key"),
                expected_version=0,
                events=(EVENT,),
                request_id="req",
            )
            await append(item)
            latencies.append((time.perf_counter() - start) * 1000)

    start = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return len(latencies) / (time.perf_counter() - start), latencies
