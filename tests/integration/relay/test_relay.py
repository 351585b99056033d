"""The relay on real backends: killed, doubled, and with a log that was lost."""

import asyncio
import random
import subprocess
from pathlib import Path

from keyledger.contracts.topics import EVENTS, LEDGER
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import CheckpointMoved, Ledger
from keyledger_relay.mark import NAME
from tests.integration.relay.profiles import Profile
from tests.unit.relay.kit import (
    DEADLINE_SECONDS,
    append_keys,
    assert_each_once,
    caught_up,
    followed,
    ledger_topics,
    positions,
    relay_of,
    running,
    until_it_answers,
)

EVENT_COUNT = 8_000
KILLS = 8


async def test_every_event_is_once_and_in_order_on_both_topics(profile: Profile) -> None:
    async with profile.opened() as (ledger, log):
        await append_keys(ledger, 300, prefix="a")
        relay = relay_of(ledger, log)
        async with running(relay):
            await append_keys(ledger, 300, prefix="b")
            await caught_up(relay, 600)
            await until_it_answers(lambda: ledger.checkpoint(NAME), 600)
        # And a restart has nothing to repeat.
        again = relay_of(ledger, log)
        async with running(again):
            await append_keys(ledger, 1, prefix="c")
            await caught_up(again, 601)
        await assert_each_once(log, 601)


async def test_killed_again_and_again_under_load_it_loses_nothing(profile: Profile) -> None:
    chance = random.Random(3)
    async with profile.opened() as (ledger, log):
        appending = asyncio.create_task(append_just_ahead(ledger, log))
        for _kill in range(KILLS):
            _, end = await log.bounds(EVENTS.name, 0)
            with profile.relay_process(batch_events=20) as relay:
                await beyond(log, end + chance.randrange(1, EVENT_COUNT // KILLS // 2), appending, relay)
        with profile.relay_process(batch_events=5_000):
            await appending
            await until_it_answers(lambda: ledger.checkpoint(NAME), EVENT_COUNT)
        for name, records in (await ledger_topics(log)).items():
            assert followed(records) == list(range(1, EVENT_COUNT + 1)), name
            print(f"{name}: {len(records) - EVENT_COUNT} repeated by {KILLS} kills")  # noqa: T201 - a figure to read


async def append_just_ahead(ledger: Ledger, log: EventLog) -> None:
    """Append so that there is always something to relay, and never everything yet."""
    wave = 200
    for number in range(EVENT_COUNT // wave):
        await beyond(log, (number - 4) * wave)
        await append_keys(ledger, wave, prefix=f"{number:03}")


async def beyond(
    log: EventLog,
    offset: int,
    appending: asyncio.Task[None] | None = None,
    relay: subprocess.Popen[bytes] | None = None,
) -> None:
    """Return once the topic ends behind the offset; at once when whoever should fill it has ended."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while (await log.bounds(EVENTS.name, 0))[1] < offset:
            assert relay is None or relay.poll() is None, "the relay ended by itself"
            if appending is not None and appending.done():
                appending.result()
            await asyncio.sleep(0.002)


async def test_two_relays_at_once_are_harmless_and_one_of_them_stops(profile: Profile) -> None:
    async with profile.opened() as (ledger, log), profile.opened() as (ledger_2, log_2):
        first, second = relay_of(ledger, log, batch_events=7), relay_of(ledger_2, log_2, batch_events=11)
        tasks = [asyncio.create_task(relay.run()) for relay in (first, second)]
        for number in range(100):
            await append_keys(ledger, 20, prefix=f"{number:03}")
        await until_it_answers(lambda: ledger.checkpoint(NAME), 2_000)
        await asyncio.wait(tasks, timeout=DEADLINE_SECONDS, return_when=asyncio.FIRST_COMPLETED)
        (stopped,) = [task for task in tasks if task.done()]
        assert isinstance(stopped.exception(), CheckpointMoved)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for name, records in (await ledger_topics(log)).items():
            assert records[0].offset == 0, f"{name} was emptied"
            assert followed(records) == list(range(1, 2_001)), name


async def test_a_log_that_was_lost_is_filled_again(embedded: Profile, tmp_path: Path) -> None:
    async with embedded.opened() as (ledger, log):
        await append_keys(ledger, 500)
        relay = relay_of(ledger, log)
        async with running(relay):
            await until_it_answers(lambda: ledger.checkpoint(NAME), 500)
    lose(tmp_path / "log.db")
    async with embedded.opened() as (ledger, log):
        assert positions((await ledger_topics(log))[LEDGER.name]) == []
        relay = relay_of(ledger, log)
        async with running(relay):
            await caught_up(relay, 500)
        await assert_each_once(log, 500)


def lose(database: Path) -> None:
    for file in database.parent.glob(f"{database.name}*"):
        file.unlink()
