"""What the relay's tests share: facts to relay, a reader as the design asks for, and waiting for conditions."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from hashlib import sha256

from prometheus_client import CollectorRegistry

from keyledger.contracts.cloudevents import read_private
from keyledger.contracts.envelope import FIRST_PREV_HASH
from keyledger.contracts.ports import Clock
from keyledger.contracts.registry import EncodedEvent, encode
from keyledger.contracts.topics import EVENTS, HEADS, LEDGER
from keyledger.domain.events import KeyCreated, KeyRevoked, Secret
from keyledger.eventlog.port import EventLog, Record
from keyledger.eventstore.port import Append, Appended, Ledger
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.runtime.process import Process
from keyledger.runtime.settings import Settings
from keyledger_relay.build import RelayService, build
from tests.unit.beside import running_beside

ORGANIZATION = "org_" + "0" * 22
DEADLINE_SECONDS = 120.0


def digest_of(key_id: str) -> bytes:
    return sha256(key_id.encode()).digest()


def key_created(key_id: str) -> EncodedEvent:
    return encode(
        KeyCreated(
            organization_id=ORGANIZATION,
            key_id=key_id,
            type="personal",
            owner_type="user",
            owner_id="user_" + "0" * 22,
            name="a key",
            description="",
            role="developer",
            environment="dev",
            expires_at=None,
            secret=Secret(id="secret-1", digest=digest_of(key_id), pepper="pepper-1"),
        )
    )


def append_of(key_id: str, event: EncodedEvent, *, version: int = 0) -> Append:
    return Append(
        append_id=SystemRandomness().token_hex(16),
        organization_id=ORGANIZATION,
        stream=key_id,
        expected_version=version,
        events=(event,),
        request_id=f"req_{key_id}",
        actor_user="user_" + "0" * 22,
    )


async def append_keys(ledger: Ledger, count: int, *, prefix: str = "") -> list[str]:
    """Create keys, concurrently where the ledger can, and return their ids."""
    names = [f"key_{prefix}{number:020d}" for number in range(count)]
    await asyncio.gather(*(ledger.append(append_of(name, key_created(name))) for name in names))
    return names


async def revoke(ledger: Ledger, key_id: str) -> int:
    """Revoke a key that has one event; return the position."""
    event = encode(KeyRevoked(organization_id=ORGANIZATION, key_id=key_id))
    appended = await ledger.append(append_of(key_id, event, version=1))
    assert isinstance(appended, Appended)
    return appended.position


def relay_of(
    ledger: Ledger,
    log: EventLog,
    *,
    clock: Clock | None = None,
    registry: CollectorRegistry | None = None,
    batch_events: int = 5_000,
    works_ahead: bool = True,
) -> RelayService:
    process = Process(Settings(), clock=clock or SystemClock(), registry=registry or CollectorRegistry())
    return build(process, ledger, log, batch_events=batch_events, works_ahead=works_ahead)


def running(relay: RelayService) -> AbstractAsyncContextManager[asyncio.Task[None]]:
    """Run the relay inside. Where it stops by itself the body ends at once, and what made it stop is raised."""
    return running_beside(relay.run())


async def stopped(relay: RelayService) -> BaseException:
    """Run the relay until it stops by itself, and return why."""
    task = asyncio.create_task(relay.run())
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            await task
    except TimeoutError:
        raise AssertionError("the relay went on") from None
    except Exception as error:  # noqa: BLE001 - whatever it was is what the test asks for
        return error
    raise AssertionError("the relay ended without a reason")


async def until(condition: Callable[[], bool], *, seconds: float = DEADLINE_SECONDS) -> None:
    """Return once the condition holds; fail at the deadline."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - a condition over several parts, none of which can be awaited
            await asyncio.sleep(0.005)


async def until_it_answers(question: Callable[[], Awaitable[object]], answer: object) -> None:
    """Return once the question has this answer; fail at the deadline."""
    found: object = None
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (found := await question()) != answer:  # noqa: ASYNC110 - it stands in another process or file
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise AssertionError(f"the answer stayed {found}, not {answer}") from None


async def caught_up(relay: RelayService, position: int) -> None:
    await until(lambda: relay.progress.position >= position)


async def records_of(log: EventLog, topic: str, partition: int = 0) -> list[Record]:
    """Return everything that a partition holds."""
    first, end = await log.bounds(topic, partition)
    reader = await log.reader(topic, partition, first)
    found: list[Record] = []
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while first < end and (not found or found[-1].offset < end - 1):
                found += await reader.poll(max_records=5_000, timeout_seconds=5.0)
    finally:
        await reader.close()
    return found


def position_of(record: Record) -> int:
    return int(dict(record.headers)["ce_id"])


def positions(records: Sequence[Record]) -> list[int]:
    return [position_of(record) for record in records]


def followed(records: Sequence[Record]) -> list[int]:
    """Return the positions that a reader applies: it skips what it has, and stops at a gap or a broken chain."""
    applied: list[int] = []
    last_hash = FIRST_PREV_HASH
    for record in records:
        position = position_of(record)
        if position <= len(applied):
            continue
        assert position == len(applied) + 1, f"a gap: {position} after {len(applied)}"
        if record.topic == LEDGER.name:
            _, entry = read_private(record.headers, record.value)
            assert entry.prev_hash == last_hash, f"position {position} does not follow"
            last_hash = entry.hash
        applied.append(position)
    return applied


async def ledger_topics(log: EventLog) -> dict[str, list[Record]]:
    return {topic.name: await records_of(log, topic.name) for topic in (LEDGER, EVENTS)}


async def assert_each_once(log: EventLog, count: int) -> None:
    """Both topics hold each position once, in order, and a reader can follow them."""
    for records in (await ledger_topics(log)).values():
        assert positions(records) == list(range(1, count + 1))
        assert followed(records) == list(range(1, count + 1))


async def made(log: EventLog) -> EventLog:
    """Return the log with the relay's topics."""
    await log.ensure_topics((LEDGER, EVENTS, HEADS))
    return log
