"""Streams are asked for together, and what was read before is believed only as far as the ledger confirms it."""

import asyncio
from collections.abc import AsyncIterator
from typing import cast

import pytest

from keyledger.contracts.registry import EncodedEvent, UndecodableEvent, encode
from keyledger.domain.events import TeamCreated
from keyledger.domain.people import Team
from keyledger.eventstore.port import Append, Ledger, LedgerUnavailable
from keyledger.testing.memory_ledger import MemoryLedger, MemoryStore
from keyledger_commands import streams
from keyledger_commands.streams import NEW, RECALL_SECONDS, Streams
from tests.integration.commands.watched import Watched
from tests.integration.commands.world import SetClock

UNKNOWN = EncodedEvent("FromTheFuture", 1, may_ignore=False, data=b"{}")


class Read:
    """Streams over a ledger in memory that is looked over the shoulder of."""

    def __init__(self) -> None:
        self.clock, self.store = SetClock(), MemoryStore()
        self.ledger = MemoryLedger(self.store, clock=self.clock)
        self.watched = Watched(self.ledger)
        self.streams = Streams(cast("Ledger", self.watched), self.clock)

    async def write(self, stream: str, version: int = 0, *events: EncodedEvent) -> None:
        named = events or (encode(TeamCreated(organization_id="org", team_id=stream, name="Payments")),)
        await self.ledger.append(
            Append(
                append_id=f"{stream}-{version}",
                organization_id="org",
                stream=stream,
                expected_version=version,
                events=named,
                request_id="req",
            )
        )


@pytest.fixture
async def read() -> AsyncIterator[Read]:
    one = Read()
    yield one
    await one.ledger.close()


async def test_those_who_wait_share_the_next_question(read: Read) -> None:
    await read.write("a")
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: object) -> None:
        asked.set()
        await go_on.wait()

    read.watched.before_load = wait
    first = asyncio.create_task(read.streams.load(["a"]))
    await asked.wait()
    others = [asyncio.create_task(read.streams.load([name])) for name in ("a", "b", "a")]
    await asyncio.sleep(0)
    await read.write("b")
    go_on.set()
    assert [stream.version for found in await asyncio.gather(first, *others) for stream in found.values()] == [1] * 4
    assert [sorted(names) for names in read.watched.loads] == [["a"], ["a", "b"]]


async def test_what_is_known_is_not_read_again_and_what_is_new_is_seen(read: Read) -> None:
    await read.write("a")
    before = (await read.streams.load(["a"]))["a"]
    assert (await read.streams.load(["a"]))["a"] is before
    await read.write("a", 1)
    after = (await read.streams.load(["a"]))["a"]
    assert (after.version, after.facts[:1]) == (2, before.facts)


async def test_a_ledger_that_was_put_back_and_went_on_is_read_anew(read: Read) -> None:
    await read.write("a")
    await read.write("b")
    await read.streams.load(["a", "b"])
    other = MemoryStore()
    read.store.head, read.store.entries, read.store.streams = other.head, other.entries, other.streams
    await read.write("a", 0, encode(TeamCreated(organization_id="org", team_id="a", name="Another history")))
    found = await read.streams.load(["a", "b"])
    assert isinstance(found["a"].owner, Team)
    assert (found["a"].owner.name, found["b"]) == ("Another history", NEW)


async def test_a_stream_is_recalled_for_a_second(read: Read) -> None:
    await read.write("a")
    assert await read.streams.recall(["a"]) == {"a": NEW}
    loaded = await read.streams.load(["a", "b"])
    assert await read.streams.recall(["a", "b"]) == {"a": loaded["a"], "b": NEW}
    await read.clock.sleep(RECALL_SECONDS)
    assert await read.streams.recall(["a"]) == {"a": NEW}


async def test_what_is_not_understood_fails_for_who_asked_for_it_alone(read: Read) -> None:
    await read.write("a")
    await read.write("strange", 0, UNKNOWN)
    mine, theirs = await asyncio.gather(
        read.streams.load(["a"]), read.streams.load(["a", "strange"]), return_exceptions=True
    )
    assert isinstance(mine, dict)
    assert isinstance(theirs, UndecodableEvent)
    with pytest.raises(UndecodableEvent):
        await read.streams.load(["strange"])


async def test_a_ledger_that_cannot_be_asked_is_told_to_everybody_and_asked_again_by_the_next(read: Read) -> None:
    async def fail(_: object) -> None:
        raise LedgerUnavailable("gone")

    read.watched.before_load = fail
    found = await asyncio.gather(*(read.streams.load([name]) for name in "ab"), return_exceptions=True)
    assert [type(one) for one in found] == [LedgerUnavailable] * 2
    read.watched.before_load = None
    assert await read.streams.load(["a"]) == {"a": NEW}


async def test_a_caller_who_goes_away_takes_nobody_along(read: Read) -> None:
    await read.write("a")
    leaving, staying = (asyncio.create_task(read.streams.load(["a"])) for _ in range(2))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await staying)["a"].version == 1


async def test_no_more_is_kept_than_is_allowed(read: Read) -> None:
    events = tuple(encode(TeamCreated(organization_id="org", team_id="t", name="x")) for _ in range(500))
    most = streams.MAX_KEPT_FACTS // len(events)
    for number in range(most + 1):
        await read.write(f"s{number}", 0, *events)
        await read.streams.load([f"s{number}"])
    recalled = await read.streams.recall([f"s{number}" for number in range(most + 1)])
    assert [stream.version for stream in recalled.values()] == [0, *[500] * most]
