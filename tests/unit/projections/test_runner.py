import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from keyledger.contracts.cloudevents import MalformedRecord
from keyledger.contracts.topics import LEDGER
from keyledger.eventlog.port import NewRecord
from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.order import ForeignHistory, GapInLedger
from keyledger.projections.port import Checkpoint, ReadModelUnavailable, Versioned
from keyledger.testing.memory_read_model import MemoryReadModel, MemoryRows
from tests.unit.projections.following import (
    DEADLINE_SECONDS,
    EventsComeMeanwhile,
    follow_to,
    log_of,
    runner_of,
    running,
    stop_of,
    until,
)
from tests.unit.projections.written import (
    ANOTHER_STORE,
    STORE,
    created,
    key_id,
    records,
    renamed,
    revoked,
    rotated,
    team,
    written,
)

Model = MemoryReadModel[tuple[int, ...]]


@pytest.fixture
def model() -> Model:
    return MemoryReadModel()


async def test_each_event_is_folded_once_in_the_order_of_the_ledger(model: Model) -> None:
    ledger = written(created(1), created(2), rotated(1), renamed(2, "new"), revoked(1))
    await follow_to(5, runner_of(await log_of(records(ledger.entries)), model))
    assert model.rows == {key_id(1): Versioned(3, (1, 3, 5)), key_id(2): Versioned(2, (2, 4))}
    assert model.committed == Checkpoint(STORE, 5, ledger.entries[-1].hash, 5)


async def test_what_a_relay_sends_twice_is_folded_once(model: Model) -> None:
    sent = records(written(created(1), rotated(1), rotated(1)).entries)
    await follow_to(3, runner_of(await log_of(sent[:2], sent, sent[1:]), model))
    assert model.rows == {key_id(1): Versioned(3, (1, 2, 3))}


async def test_what_is_in_a_row_already_is_not_folded_again_whatever_the_checkpoint_says(model: Model) -> None:
    model.rows = {key_id(1): Versioned(2, (1, 2))}
    await follow_to(3, runner_of(await log_of(records(written(created(1), rotated(1), rotated(1)).entries)), model))
    assert model.rows == {key_id(1): Versioned(3, (1, 2, 3))}


async def test_a_batch_is_as_large_as_what_is_there_but_bounded(model: Model) -> None:
    runner = runner_of(await log_of(records(written(*(created(n) for n in range(10))).entries)), model, max_batch=4)
    await follow_to(10, runner)
    assert (runner.counts.applied, runner.counts.batches) == (10, 3)


async def test_a_stream_that_the_fold_does_not_want_moves_only_the_checkpoint(model: Model) -> None:
    ledger = written()
    ledger.add(team("first"), type="TeamPainted")
    await follow_to(1, runner_of(await log_of(records(ledger.entries)), model))
    assert model.rows == {}


async def test_an_unknown_event_that_may_be_ignored_counts_as_a_version_and_nothing_else(model: Model) -> None:
    ledger = written(created(1))
    ledger.add(rotated(1), type="KeyPainted", may_ignore=True)
    ledger.add(rotated(1))
    await follow_to(3, runner_of(await log_of(records(ledger.entries)), model))
    assert model.rows == {key_id(1): Versioned(3, (1, 3))}


async def test_it_stops_before_a_missing_position_and_keeps_what_came_before(model: Model) -> None:
    sent = records(written(created(1), created(2), created(3), created(4)).entries)
    stopped = await stop_of(runner_of(await log_of(sent[:2], sent[3:]), model), GapInLedger)
    assert (stopped.expected, stopped.actual) == (3, 4)
    assert model.committed.position == 2


async def test_it_does_not_begin_in_the_middle_of_the_ledger(model: Model) -> None:
    sent = records(written(created(1), created(2)).entries)
    await stop_of(runner_of(await log_of(sent[1:]), model), GapInLedger)
    assert model.rows == {}


async def test_it_stops_where_another_history_goes_on(model: Model) -> None:
    followed = written(created(1), created(2))
    restored = written(created(1), created(3), created(4))
    await follow_to(2, runner_of(await log_of(records(followed.entries)), model))
    stopped = await stop_of(
        runner_of(await log_of(records([*followed.entries, restored.entries[2]])), model), ForeignHistory
    )
    assert stopped.position == 3
    assert model.committed.position == 2


async def test_the_new_facts_of_a_restored_ledger_are_not_skipped_as_old_ones(model: Model) -> None:
    followed = written(created(1), created(2), created(3))
    restored = written(created(1), revoked(1))
    log = await log_of(records(followed.entries))
    runner = runner_of(log, model)
    async with running(runner) as task:
        assert await runner.wait_for(3, timeout_seconds=DEADLINE_SECONDS)
        await log.append(LEDGER.name, 0, records(restored.entries[1:]))
        with pytest.raises(ForeignHistory, match="position 2"):
            await asyncio.wait_for(asyncio.shield(task), DEADLINE_SECONDS)


async def test_it_refuses_another_ledger(model: Model) -> None:
    ledger = written(created(1), created(2))
    log = await log_of(records(ledger.entries[:1]), records(ledger.entries[1:], ANOTHER_STORE))
    stopped = await stop_of(runner_of(log, model), ForeignHistory)
    assert ANOTHER_STORE in str(stopped)
    assert model.committed.store == STORE


async def test_a_row_whose_bytes_were_changed_stops_it(model: Model) -> None:
    first, second = records(written(created(1), created(2)).entries)
    forged = replace(second, value=second.value.replace(b"key 2", b"key 3"))
    await stop_of(runner_of(await log_of([first, forged]), model), MalformedRecord)
    assert model.committed.position == 1


async def test_a_record_that_is_no_row_of_a_ledger_stops_it(model: Model) -> None:
    sent = records(written(created(1)).entries)
    await stop_of(runner_of(await log_of([*sent, NewRecord(None, b"hello")]), model), MalformedRecord)
    assert model.committed.position == 1


async def test_of_two_runners_on_one_read_model_the_zombie_stops(model: Model) -> None:
    ledger = written(created(1), created(2), created(3))
    log = await log_of(records(ledger.entries[:1]))
    zombie = runner_of(log, model)
    async with running(zombie) as task:
        assert await zombie.wait_for(1, timeout_seconds=DEADLINE_SECONDS)
        model.committed = replace(model.committed, position=2, hash=ledger.entries[1].hash, next_offset=2)
        model.rows[key_id(2)] = Versioned(1, (2,))
        await log.append(LEDGER.name, 0, records(ledger.entries[1:]))
        with pytest.raises(CheckpointMoved):
            await asyncio.wait_for(asyncio.shield(task), DEADLINE_SECONDS)
    assert model.committed.position == 2
    await follow_to(3, runner_of(log, model))
    assert model.rows[key_id(2)] == Versioned(1, (2,))


async def test_a_lost_log_is_waited_for_and_counted(model: Model) -> None:
    sent = records(written(created(1), created(2)).entries)
    log = await log_of(sent[:1])
    runner = runner_of(log, model)
    async with running(runner) as task:
        assert await runner.wait_for(1, timeout_seconds=DEADLINE_SECONDS)
        log.unavailable = True
        await until(lambda: runner.counts.log_retries >= 3, task)
        log.unavailable = False
        await log.append(LEDGER.name, 0, sent[1:])
        assert await runner.wait_for(2, timeout_seconds=DEADLINE_SECONDS)


async def test_a_lost_database_is_waited_for_and_counted(model: Model) -> None:
    runner = runner_of(await log_of(records(written(created(1)).entries)), model)
    model.unavailable = True
    async with running(runner) as task:
        await until(lambda: runner.counts.read_model_retries >= 3, task)
        model.unavailable = False
        assert await runner.wait_for(1, timeout_seconds=DEADLINE_SECONDS)


class LosesOneAnswer(MemoryReadModel[tuple[int, ...]]):
    """Commits, and loses the connection before it can say so, once."""

    answers_lost = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryRows[tuple[int, ...]]]:
        async with super().transaction() as rows:
            yield rows
        if not self.answers_lost:
            self.answers_lost += 1
            raise ReadModelUnavailable("the connection broke")


async def test_a_commit_whose_answer_was_lost_is_neither_repeated_nor_taken_for_a_zombies() -> None:
    model = LosesOneAnswer()
    await follow_to(2, runner_of(await log_of(records(written(created(1), rotated(1)).entries)), model, max_batch=1))
    assert model.answers_lost == 1
    assert model.rows == {key_id(1): Versioned(2, (1, 2))}


async def test_a_topic_that_is_made_anew_under_its_reader_is_read_from_its_beginning(model: Model) -> None:
    ledger = written(*(created(number) for number in range(1, 9)))
    sent = records(ledger.entries)
    log = await log_of(sent[:3], sent[:3])
    runner = runner_of(log, model, max_batch=2)
    async with running(runner) as task:
        await until(lambda: runner.position == 3, task)
        log.held(LEDGER.name, 0).clear()
        await log.append(LEDGER.name, 0, sent)
        await until(lambda: runner.position == 8, task)
    assert model.rows == {key_id(n): Versioned(1, (n,)) for n in range(1, 9)}


async def test_a_topic_that_was_made_anew_is_read_from_its_beginning(model: Model) -> None:
    ledger = written(created(1), created(2), created(3))
    sent = records(ledger.entries)
    await follow_to(2, runner_of(await log_of(sent[:2], sent[:2], sent[:2]), model))
    model.committed = replace(model.committed, next_offset=6)
    runner = runner_of(await log_of(sent), model)
    await follow_to(3, runner)
    assert runner.counts.rewinds == 1
    assert model.rows == {key_id(n): Versioned(1, (n,)) for n in (1, 2, 3)}


async def test_an_offset_that_now_lies_further_on_is_found_out_and_read_from_the_beginning(model: Model) -> None:
    sent = records(written(*(created(n) for n in range(1, 7))).entries)
    await follow_to(2, runner_of(await log_of(sent[:2], sent[:2]), model))
    model.committed = replace(model.committed, next_offset=4)
    runner = runner_of(await log_of(sent), model)
    await follow_to(6, runner)
    assert runner.counts.rewinds == 1


async def test_a_topic_that_lost_what_was_not_read_yet_stops_it(model: Model) -> None:
    sent = records(written(*(created(n) for n in range(1, 7))).entries)
    log = await log_of(sent[:4])
    log.forget(LEDGER.name, 0)
    await log.append(LEDGER.name, 0, sent[4:])
    stopped = await stop_of(runner_of(log, model), GapInLedger)
    assert (stopped.expected, stopped.actual) == (1, 5)


async def test_it_reaches_a_position_exactly_and_goes_no_further(model: Model) -> None:
    log = await log_of(records(written(*(created(n) for n in range(10))).entries))
    runner = runner_of(log, model, max_batch=4)
    for position in (3, 3, 8):
        await asyncio.wait_for(runner.reach(position), DEADLINE_SECONDS)
        assert model.committed.position == position
    assert len(model.rows) == 8


async def test_what_stands_after_the_position_that_is_reached_stops_nobody(model: Model) -> None:
    sent = records(written(created(1), created(2)).entries)
    runner = runner_of(await log_of([*sent, NewRecord(None, b"hello")]), model)
    await asyncio.wait_for(runner.reach(2), DEADLINE_SECONDS)
    assert model.committed.position == 2


class Looked(MemoryReadModel[tuple[int, ...]]):
    """Counts how often its runner looked for another generation."""

    looks = 0

    async def successor(self) -> MemoryReadModel[tuple[int, ...]] | None:
        self.looks += 1
        return await super().successor()


async def test_another_generation_takes_over_once_it_is_as_far_and_nobody_sees_an_older_state() -> None:
    ledger, model, built = written(*(created(n) for n in range(6))), Looked(), Looked()
    log = await log_of(records(ledger.entries))
    runner = runner_of(log, model)
    await runner_of(log, built).reach(2)
    built.rows[key_id(9)] = Versioned(1, (0,))
    async with running(runner) as task:
        await until(lambda: model.committed.position == 6, task)
        model.built = built
        await until(lambda: model.committed.position < 6 or key_id(9) in model.rows, task)
        assert model.committed.position == 6
        ledger.add(created(7))
        await log.append(LEDGER.name, 0, records(ledger.entries[6:]))
        await until(lambda: model.committed.position == 7, task)
    assert model.rows.keys() == {key_id(n) for n in (0, 1, 2, 3, 4, 5, 7, 9)}


async def test_what_comes_while_another_generation_catches_up_is_in_it_before_it_takes_over() -> None:
    ledger, model, built, log = written(*(created(n) for n in range(6))), Looked(), Looked(), EventsComeMeanwhile()
    await log.ensure_topics([LEDGER])
    await log.append(LEDGER.name, 0, records(ledger.entries))
    await runner_of(log, built).reach(2)
    built.rows[key_id(9)] = Versioned(1, (0,))
    runner = runner_of(log, model)
    async with running(runner) as task:
        await until(lambda: model.committed.position == 6, task)

        async def one_more_comes() -> None:
            ledger.add(created(7))
            await log.append(LEDGER.name, 0, records(ledger.entries[6:]))
            await until(lambda: model.committed.position == 7, task)

        log.meanwhile = one_more_comes
        model.built = built
        await until(lambda: key_id(9) in model.rows, task)
        assert model.committed.position == 7
    assert key_id(7) in model.rows


class Discarded(Looked):
    """A generation that an operator deletes while it catches up."""

    async def checkpoint(self) -> Checkpoint:
        self.looks += 1
        raise CheckpointMoved("there is no such generation any more")


async def test_a_generation_that_is_deleted_while_it_catches_up_ends_nobody() -> None:
    ledger, model, built = written(*(created(n) for n in range(6))), Looked(), Discarded()
    log = await log_of(records(ledger.entries))
    async with running(runner_of(log, model)) as task:
        await until(lambda: model.committed.position == 6, task)
        model.built = built
        await until(lambda: built.looks > 0, task)
        model.built = None
        ledger.add(created(7))
        await log.append(LEDGER.name, 0, records(ledger.entries[6:]))
        await until(lambda: model.committed.position == 7, task)


async def test_a_generation_that_is_further_on_waits_until_the_serving_one_is_there_too() -> None:
    ledger, model, built = written(*(created(n) for n in range(6))), Looked(), Looked()
    log, all_of_it = await log_of(records(ledger.entries[:3])), await log_of(records(ledger.entries))
    await runner_of(all_of_it, built).reach(6)
    model.built = built
    runner = runner_of(log, model)
    async with running(runner) as task:
        for number in (3, 4, 5, 6):
            looks = model.looks
            await until(lambda: runner.position >= number and model.looks > looks, task)  # noqa: B023 - called here
            assert model.committed.position == number, "it must never go back either"
            await log.append(LEDGER.name, 0, records(ledger.entries[number : number + 1] or ledger.entries[:1]))
        await until(lambda: model.built is None, task)
    assert runner.position == 6
