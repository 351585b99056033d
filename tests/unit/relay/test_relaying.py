"""Every event once, in order, on both topics: in quiet, and through every failure of the log and the ledger."""

import asyncio
from collections.abc import Sequence

import pytest
import structlog
from prometheus_client import CollectorRegistry

from keyledger.contracts.envelope import Entry
from keyledger.contracts.registry import EncodedEvent, UndecodableEvent
from keyledger.contracts.topics import EVENTS, LEDGER
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord, Producer, Record
from keyledger.eventstore.port import CheckpointMoved, Ledger, LedgerUnavailable
from keyledger_relay.mark import NAME
from tests.unit.relay.interposed import PassingLedger, PassingLog
from tests.unit.relay.kit import (
    DEADLINE_SECONDS,
    append_keys,
    append_of,
    assert_each_once,
    caught_up,
    digest_of,
    ledger_topics,
    positions,
    records_of,
    relay_of,
    revoke,
    running,
    stopped,
    until,
    until_it_answers,
)


@pytest.mark.parametrize("works_ahead", [True, False])
@pytest.mark.parametrize("batch_events", [1, 7, 5_000])
async def test_every_event_is_once_and_in_order_on_both_topics(
    ledger: Ledger, log: EventLog, batch_events: int, *, works_ahead: bool
) -> None:
    await append_keys(ledger, 50, prefix="a")
    relay = relay_of(ledger, log, batch_events=batch_events, works_ahead=works_ahead)
    async with running(relay):
        await append_keys(ledger, 50, prefix="b")
        await caught_up(relay, 100)
    await assert_each_once(log, 100)


async def test_a_record_is_keyed_by_its_stream(ledger: Ledger, log: EventLog) -> None:
    (key_id,) = await append_keys(ledger, 1)
    relay = relay_of(ledger, log)
    async with running(relay):
        await caught_up(relay, 1)
    for records in (await ledger_topics(log)).values():
        assert [record.key for record in records] == [key_id.encode()]


async def test_no_digest_is_ever_on_the_published_topic(ledger: Ledger, log: EventLog) -> None:
    names = await append_keys(ledger, 20)
    await revoke(ledger, names[0])
    relay = relay_of(ledger, log)
    async with running(relay):
        await caught_up(relay, 21)
    forms = _forms_of_digests(names)
    private = _bytes_of(await records_of(log, LEDGER.name))
    published = _bytes_of(await records_of(log, EVENTS.name))
    # First that the search finds them where they are.
    assert sum(form in private for form in forms) >= len(names)
    assert [form for form in forms if form in published] == []
    assert b"pepper" not in published


def _forms_of_digests(names: Sequence[str]) -> list[bytes]:
    from base64 import b64encode, urlsafe_b64encode  # noqa: PLC0415 - of this search only

    digests = [digest_of(name) for name in names]
    return [
        form
        for digest in digests
        for form in (
            digest,
            digest.hex().encode(),
            digest.hex().upper().encode(),
            b64encode(digest).rstrip(b"="),
            urlsafe_b64encode(digest).rstrip(b"="),
        )
    ]


def _bytes_of(records: Sequence[Record]) -> bytes:
    return b"\n".join(
        part or b"" for record in records for part in (record.key, record.value, *(text for _, text in record.headers))
    )


class LostCheckpoints(PassingLedger):
    """Every move of the relay's checkpoint hangs for ever: the relay is killed between the sends and the move."""

    async def move_checkpoint(self, name: str, *, expected: int, new: int) -> None:
        del name, expected, new
        await asyncio.Event().wait()


async def test_killed_between_send_and_checkpoint_it_repeats_nothing(ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 30, prefix="a")
    first = relay_of(LostCheckpoints(ledger), log)
    async with running(first):
        await caught_up(first, 30)
    assert await ledger.checkpoint(NAME) == 0
    await append_keys(ledger, 5, prefix="b")
    second = relay_of(ledger, log)
    async with running(second):
        await caught_up(second, 35)
        await until_it_answers(lambda: ledger.checkpoint(NAME), 35)
    await assert_each_once(log, 35)


class OneTopicHangs(PassingLog):
    """The published topic never answers."""

    async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
        if topic == EVENTS.name:
            await asyncio.Event().wait()
        return await super().send(producer, topic, records)


async def test_the_checkpoint_waits_for_the_slower_topic(ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 10)
    half = relay_of(ledger, OneTopicHangs(log))
    async with running(half):
        await until_it_answers(lambda: log.bounds(LEDGER.name, 0), (0, 10))
        assert half.progress.position == 0
    assert await ledger.checkpoint(NAME) == 0
    # And the next relay completes the one topic without repeating the other.
    whole = relay_of(ledger, log)
    async with running(whole):
        await caught_up(whole, 10)
        await until_it_answers(lambda: ledger.checkpoint(NAME), 10)
    await assert_each_once(log, 10)


class LostAnswers(PassingLog):
    """Each second send is written, but its answer is lost."""

    sends = 0

    async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
        offset = await super().send(producer, topic, records)
        self.sends += 1
        if self.sends % 2:
            raise LogUnavailable("the answer was lost")
        return offset


@pytest.mark.parametrize("works_ahead", [True, False])
async def test_a_lost_answer_loses_and_repeats_nothing(ledger: Ledger, log: EventLog, *, works_ahead: bool) -> None:
    await append_keys(ledger, 40)
    relay = relay_of(ledger, LostAnswers(log), batch_events=10, works_ahead=works_ahead)
    async with running(relay):
        await caught_up(relay, 40)
    await assert_each_once(log, 40)


class AwayForAWhile(PassingLog):
    away = False

    async def send(self, producer: Producer, topic: str, records: Sequence[NewRecord]) -> int:
        if self.away:
            raise LogUnavailable("no broker")
        return await super().send(producer, topic, records)


async def test_a_log_that_is_away_is_waited_for_and_nothing_is_skipped(ledger: Ledger, log: EventLog) -> None:
    registry = CollectorRegistry()
    away = AwayForAWhile(log)
    relay = relay_of(ledger, away, registry=registry)

    def retries() -> float:
        return registry.get_sample_value("keyledger_relay_retries_total", {"dependency": "log"}) or 0

    with structlog.testing.capture_logs() as lines:
        async with running(relay):
            await append_keys(ledger, 3, prefix="a")
            await caught_up(relay, 3)
            away.away = True
            await append_keys(ledger, 3, prefix="b")
            await until(lambda: retries() >= 3)
            away.away = False
            await caught_up(relay, 6)
    await assert_each_once(log, 6)
    said = [line["event"] for line in lines if line.get("dependency") == "log"]
    assert said == ["dependency is away, retrying", "dependency is back"]


class LedgerAway(PassingLedger):
    away = False

    async def read(self, after: int, *, limit: int) -> list[Entry]:
        if self.away:
            raise LedgerUnavailable("no database")
        return await super().read(after, limit=limit)


async def test_a_ledger_that_is_away_is_waited_for_and_nothing_is_skipped(ledger: Ledger, log: EventLog) -> None:
    registry = CollectorRegistry()
    away = LedgerAway(ledger)
    relay = relay_of(away, log, registry=registry)

    def retries() -> float:
        return registry.get_sample_value("keyledger_relay_retries_total", {"dependency": "ledger"}) or 0

    async with running(relay):
        await append_keys(ledger, 3, prefix="a")
        await caught_up(relay, 3)
        away.away = True
        await append_keys(ledger, 3, prefix="b")
        await until(lambda: retries() >= 3)
        away.away = False
        await caught_up(relay, 6)
    await assert_each_once(log, 6)


class SecondMoveUnanswered(PassingLedger):
    """The second move of the checkpoint is carried out, but the connection breaks before its answer."""

    moves = 0

    async def move_checkpoint(self, name: str, *, expected: int, new: int) -> None:
        await super().move_checkpoint(name, expected=expected, new=new)
        self.moves += 1
        if self.moves == 2:
            raise LedgerUnavailable("connection lost")


async def test_its_own_unanswered_move_is_not_taken_for_another_relay(ledger: Ledger, log: EventLog) -> None:
    relay = relay_of(SecondMoveUnanswered(ledger), log)
    async with running(relay):
        for number in (1, 2, 3):
            await append_keys(ledger, 1, prefix=str(number))
            await until_it_answers(lambda: ledger.checkpoint(NAME), number)


async def test_a_relay_whose_checkpoint_was_moved_by_another_stops(ledger: Ledger, log: EventLog) -> None:
    await append_keys(ledger, 3, prefix="a")
    relay = relay_of(ledger, log)
    task = asyncio.create_task(relay.run())
    await until_it_answers(lambda: ledger.checkpoint(NAME), 3)
    await ledger.move_checkpoint(NAME, expected=3, new=2)
    await append_keys(ledger, 1, prefix="b")
    await asyncio.wait([task], timeout=DEADLINE_SECONDS)
    assert isinstance(task.exception(), CheckpointMoved)


async def test_an_event_that_cannot_be_published_stops_the_relay_behind_all_before_it(
    ledger: Ledger, log: EventLog
) -> None:
    await append_keys(ledger, 3, prefix="a")
    await ledger.append(append_of("key_bad", EncodedEvent("KeyCreated", 1, may_ignore=False, data=b"\x00 no JSON")))
    await append_keys(ledger, 3, prefix="b")
    for _attempt in range(2):
        error = await stopped(relay_of(ledger, log))
        assert isinstance(error, UndecodableEvent)
        assert "position 4" in str(error)
        for records in (await ledger_topics(log)).values():
            assert positions(records) == [1, 2, 3]
