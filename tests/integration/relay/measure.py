"""How fast the relay is. By hand, from the project's root, on a quiet machine:

``python -m tests.integration.relay.measure [POSTGRES_URL KAFKA_BOOTSTRAP]`` (without them: the embedded profile).
"""

import asyncio
import contextlib
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator

from keyledger.contracts.topics import EVENTS, LEDGER
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from tests.integration.relay.profiles import Profile
from tests.unit.relay.kit import append_keys, append_of, key_created, position_of, relay_of, running

BACKLOG_EVENTS = 50_000
BATCHES = (500, 1_000, 2_000, 5_000)
PACED_EVENTS = 3_000
PACED_PER_SECOND = 500


async def main(profile: Profile) -> None:
    await profile.migrated()
    async with profile.opened() as (ledger, _log):
        for number in range(BACKLOG_EVENTS // 5_000):
            await append_keys(ledger, 5_000, prefix=f"{number:03}")
    for batch_events in BATCHES:
        await backlog(profile, batch_events)
    await latency(profile)


async def backlog(profile: Profile, batch_events: int) -> None:
    """Relay what waits to topics of their own, and watch how long the event loop is held up."""
    apart = Profile(profile.ledger_url, profile.log_url, f"batch-{batch_events}-{uuid.uuid4().hex[:4]}.")
    async with apart.opened() as (ledger, log):
        relay = relay_of(ledger, log, batch_events=batch_events)
        held_up = asyncio.create_task(longest_hold())
        began, cpu = time.perf_counter(), time.process_time()
        async with running(relay):
            while relay.progress.position < BACKLOG_EVENTS:  # noqa: ASYNC110 - a measurement
                await asyncio.sleep(0.01)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        held_up.cancel()
        await asyncio.wait([held_up])
    speed = f"{BACKLOG_EVENTS / seconds:,.0f} events/s on both topics, {cpu / BACKLOG_EVENTS * 1e6:.0f} us of CPU each"
    say(f"batch {batch_events}: {speed}, loop held {WORST[0]:.0f} ms")


WORST = [0.0]


async def longest_hold() -> None:
    WORST[0] = 0.0
    while True:
        began = time.perf_counter()
        await asyncio.sleep(0.001)
        WORST[0] = max(WORST[0], (time.perf_counter() - began) * 1_000 - 1)


async def latency(profile: Profile) -> None:
    """Append at a steady pace, the relay in a process of its own; from the answered append to the record read."""
    apart = Profile(profile.ledger_url, profile.log_url, f"paced-{uuid.uuid4().hex[:4]}.")
    async with apart.opened() as (ledger, log):
        await append_keys(ledger, 1, prefix="w")  # by it one sees that the relay is up
        head = (await ledger.head()).position
        async with contextlib.AsyncExitStack() as relay:
            if profile.log_url.startswith("kafka"):
                relay.enter_context(apart.relay_process(batch_events=1_000))
            else:  # embedded: everything is one process
                await relay.enter_async_context(running(relay_of(ledger, log)))
            while (await log.bounds(EVENTS.name, 0))[1] < head:  # noqa: ASYNC110 - a measurement
                await asyncio.sleep(0.05)
            answered: dict[int, float] = {}
            topics = {LEDGER.name: asyncio.create_task(seen(log, LEDGER.name, head, answered))}
            topics[EVENTS.name] = asyncio.create_task(seen(log, EVENTS.name, head, answered))
            async for number in paced():
                await one(ledger, f"key_paced{number:017d}", answered)
            for topic, watching in topics.items():
                took = sorted(await watching)
                half, most = took[len(took) // 2], took[int(len(took) * 0.99)]
                say(f"{topic} at {PACED_PER_SECOND}/s: p50 {half:.2f} ms, p99 {most:.2f} ms, max {took[-1]:.2f} ms")


async def paced() -> AsyncIterator[int]:
    began = time.perf_counter()
    for number in range(PACED_EVENTS):
        await asyncio.sleep(max(0, began + number / PACED_PER_SECOND - time.perf_counter()))
        yield number


async def one(ledger: Ledger, key_id: str, answered: dict[int, float]) -> None:
    appended = await ledger.append(append_of(key_id, key_created(key_id)))
    answered[appended.position] = time.perf_counter()


async def seen(log: EventLog, topic: str, head: int, answered: dict[int, float]) -> list[float]:
    reader = await log.reader(topic, 0, (await log.bounds(topic, 0))[1])
    arrived: dict[int, float] = {}
    while len(arrived) < PACED_EVENTS:
        for record in await reader.poll(max_records=5_000, timeout_seconds=5):
            if position_of(record) > head:
                arrived.setdefault(position_of(record), time.perf_counter())
    await reader.close()
    return [max(0.0, at - answered[position]) * 1_000 for position, at in arrived.items() if position in answered]


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        if sys.argv[1:]:
            asyncio.run(main(Profile(sys.argv[1], f"kafka://{sys.argv[2]}", "")))
        else:
            asyncio.run(main(Profile(f"sqlite:///{folder}/ledger.db", f"sqlite:///{folder}/log.db", "")))
