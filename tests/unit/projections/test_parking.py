from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from msgspec.structs import replace

from keyledger.contracts.alert import decode_alert
from keyledger.contracts.envelope import Fact
from keyledger.contracts.topics import ALERTS, LEDGER
from keyledger.eventlog.port import NewRecord
from keyledger.projections.port import Checkpoint, ReadModelUnavailable, Versioned
from keyledger.projections.runner import ProjectionRunner
from keyledger.runtime.clock import SystemClock
from keyledger.testing.memory_log import MemoryLog
from keyledger.testing.memory_read_model import MemoryReadModel, MemoryRows
from tests.unit.projections.following import (
    EventsComeMeanwhile,
    Positions,
    follow_to,
    log_of,
    runner_of,
    running,
    until,
)
from tests.unit.projections.written import Written, created, key_id, records, revoked, rotated, written

Model = MemoryReadModel[tuple[int, ...]]


class Mended(Positions):
    """Refuses a position until it is told to refuse none."""

    def __init__(self, *, refuses: int) -> None:
        super().__init__(refuses=refuses)

    def mend(self, *, refuses: int | None = None) -> None:
        self._refuses = refuses


class RefusesAndSaysWhat(Positions):
    def project(self, row: tuple[int, ...] | None, fact: Fact) -> tuple[int, ...]:
        raise KeyError(row, fact.event)


@pytest.fixture
def model() -> Model:
    return MemoryReadModel()


async def ledger_log(ledger: Written) -> MemoryLog:
    log = await log_of(records(ledger.entries))
    await log.ensure_topics([ALERTS])
    return log


def poisoned() -> Written:
    """Return a ledger whose third event is poison, with a later one in its stream and others around it."""
    return written(created(1), created(2), rotated(1), created(4), revoked(1), rotated(2))


async def test_an_event_that_cannot_be_folded_parks_its_stream_and_everything_else_flows(model: Model) -> None:
    runner = runner_of(await ledger_log(poisoned()), model, projection=Positions(refuses=3))
    await follow_to(6, runner)
    assert model.rows == {
        key_id(1): Versioned(1, (1,)),
        key_id(2): Versioned(2, (2, 6)),
        key_id(4): Versioned(1, (4,)),
    }
    assert [(one.stream, one.position, one.version, one.waiting) for one in model.marks.values()] == [
        (key_id(1), 3, 2, 2)
    ]
    assert list(runner.parked) == list(model.marks.values())


@pytest.mark.parametrize("max_batch", [1, 2, 6])
async def test_what_waits_is_the_same_however_the_events_came_in_batches(model: Model, max_batch: int) -> None:
    log = await ledger_log(poisoned())
    await follow_to(6, runner_of(log, model, projection=Positions(refuses=3), max_batch=max_batch))
    (mark,) = model.marks.values()
    assert (mark.position, mark.waiting, model.rows[key_id(1)]) == (3, 2, Versioned(1, (1,)))


async def test_an_event_of_an_unknown_type_parks_its_stream(model: Model) -> None:
    ledger = written(created(1))
    ledger.add(rotated(1), type="KeyPainted")
    ledger.add(created(2))
    await follow_to(3, runner_of(await ledger_log(ledger), model))
    (mark,) = model.marks.values()
    assert (mark.type, mark.position) == ("KeyPainted", 2)
    assert mark.reason == "it cannot be decoded: not known to this version of Keyledger"
    assert model.rows[key_id(2)] == Versioned(1, (3,))


async def test_an_event_whose_predecessor_in_its_stream_is_missing_parks_its_stream(model: Model) -> None:
    ledger = written(created(1))
    ledger.versions[key_id(1)] = 4
    ledger.add(rotated(1))
    ledger.add(created(2))
    await follow_to(3, runner_of(await ledger_log(ledger), model))
    (mark,) = model.marks.values()
    assert mark.reason == "it is version 5, but its row reflects 1"
    assert model.rows == {key_id(1): Versioned(1, (1,)), key_id(2): Versioned(1, (3,))}


async def test_a_poisoned_event_of_a_stream_that_the_fold_does_not_want_parks_nothing(model: Model) -> None:
    ledger = written(created(1))
    ledger.add(rotated(1), stream="team_1", type="TeamPainted")
    await follow_to(2, runner_of(await ledger_log(ledger), model))
    assert model.marks == {}


async def test_the_reason_repeats_nothing_of_what_the_event_holds(
    model: Model, caplog: pytest.LogCaptureFixture
) -> None:
    await follow_to(1, runner_of(await ledger_log(written(created(1))), model, projection=RefusesAndSaysWhat()))
    (mark,) = model.marks.values()
    assert mark.reason.startswith("it cannot be folded: KeyError at test_parking.py:")
    assert "digest" not in caplog.text
    assert key_id(1) in caplog.text


async def test_an_operator_is_told_by_one_alert_however_often_it_is_said(model: Model) -> None:
    log = await ledger_log(poisoned())
    for _ in ("first start", "second start"):
        before = len(log.held(ALERTS.name, 0))
        runner = runner_of(log, model, projection=Positions(refuses=3))
        async with running(runner) as task:
            await until(lambda: len(log.held(ALERTS.name, 0)) > before, task)  # noqa: B023 - called here
    first, second = (decode_alert(record.value or b"") for record in log.held(ALERTS.name, 0))
    assert first == second
    assert (first.rule, first.organization_id, first.subject) == ("stream-parked", None, key_id(1))
    assert first.title == f"positions cannot fold KeyRotated of {key_id(1)} at position 3"


async def test_a_log_that_takes_no_alerts_stops_no_fold(model: Model) -> None:
    log = await log_of(records(poisoned().entries))
    runner = runner_of(log, model, projection=Positions(refuses=3))
    async with running(runner) as task:
        await until(lambda: runner.position == 6, task)
        await log.append(LEDGER.name, 0, more(poisoned(), 6))
        await until(lambda: runner.position == 7, task)


def more(ledger: Written, known: int) -> list[NewRecord]:
    ledger.add(created(9))
    return records(ledger.entries[known:])


async def test_a_mended_fold_catches_up_at_its_start_with_what_waited(model: Model) -> None:
    log = await ledger_log(poisoned())
    await follow_to(6, runner_of(log, model, projection=Positions(refuses=3)))
    await caught_up(runner_of(log, model), model)
    clean = MemoryReadModel[tuple[int, ...]]()
    await follow_to(6, runner_of(log, clean))
    assert (model.rows, model.committed) == (clean.rows, clean.committed)


async def caught_up(runner: ProjectionRunner[tuple[int, ...]], model: Model) -> None:
    async with running(runner) as task:
        await until(lambda: runner.counts.applied > 0 or model.committed.position > 0, task)
        await until(lambda: not model.marks, task)


async def test_a_retry_that_is_asked_for_folds_what_waits_while_events_come_in(model: Model) -> None:
    log, ledger, fold = await ledger_log(poisoned()), poisoned(), Mended(refuses=3)
    runner = runner_of(log, model, projection=fold)
    async with running(runner) as task:
        await until(lambda: runner.position == 6 and bool(model.marks), task)
        fold.mend()
        await model.request_retry([key_id(1)])
        number = 6
        while model.marks:
            ledger.add(rotated(1))
            await log.append(LEDGER.name, 0, records(ledger.entries[number:]))
            number += 1
            await until(lambda: runner.position == number, task)  # noqa: B023 - called here
    clean = MemoryReadModel[tuple[int, ...]]()
    await follow_to(number, runner_of(log, clean))
    assert (model.rows, model.committed) == (clean.rows, clean.committed)


async def test_what_comes_while_what_waits_is_read_again_is_folded_after_it(model: Model) -> None:
    ledger, fold, log = poisoned(), Mended(refuses=3), EventsComeMeanwhile()
    await log.ensure_topics([LEDGER, ALERTS])
    await log.append(LEDGER.name, 0, records(ledger.entries))
    runner = runner_of(log, model, projection=fold)
    async with running(runner) as task:
        await until(lambda: runner.position == 6 and bool(model.marks), task)

        async def one_more_comes() -> None:
            ledger.add(rotated(1))
            await log.append(LEDGER.name, 0, records(ledger.entries[6:]))
            await until(lambda: runner.position == 7, task)

        fold.mend()
        log.meanwhile = one_more_comes
        await model.request_retry([key_id(1)])
        await until(lambda: not model.marks, task)
    assert model.rows[key_id(1)] == Versioned(4, (1, 3, 5, 7))


class AnswersAreLost(MemoryReadModel[tuple[int, ...]]):
    """Once ``doubtful``, the next commit is carried out but looks failed; then it is away for a number of questions."""

    doubtful = False
    away = 0

    async def checkpoint(self) -> Checkpoint:
        if self.away:
            self.away -= 1
            raise ReadModelUnavailable("away")
        return await super().checkpoint()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[MemoryRows[tuple[int, ...]]]:
        async with super().transaction() as rows:
            yield rows
        if self.doubtful:
            self.doubtful, self.away = False, 8
            raise ReadModelUnavailable("the answer was lost")


class Hurried(SystemClock):
    async def sleep(self, seconds: float) -> None:
        await super().sleep(seconds / 20)


async def test_a_retry_takes_no_commit_whose_answer_was_lost_for_a_zombies() -> None:
    model, log, ledger, fold = AnswersAreLost(), await ledger_log(poisoned()), poisoned(), Mended(refuses=3)
    runner = ProjectionRunner(fold, model, log, clock=Hurried())
    async with running(runner) as task:
        await until(lambda: runner.position == 6 and bool(model.marks), task)
        fold.mend()
        model.doubtful = True
        ledger.add(rotated(2))
        await log.append(LEDGER.name, 0, records(ledger.entries[6:]))
        await model.request_retry([key_id(1)])
        await until(lambda: runner.position == 7 and not model.marks, task)
    clean = MemoryReadModel[tuple[int, ...]]()
    await follow_to(7, runner_of(log, clean))
    assert (model.rows, model.committed) == (clean.rows, clean.committed)


async def test_a_retry_that_meets_the_next_poison_goes_as_far_as_it_can(model: Model) -> None:
    log, fold = await ledger_log(poisoned()), Mended(refuses=3)
    runner = runner_of(log, model, projection=fold)
    async with running(runner) as task:
        await until(lambda: runner.position == 6 and bool(model.marks), task)
        fold.mend(refuses=5)
        await model.request_retry([key_id(1)])
        await until(lambda: model.marks[key_id(1)].position == 5, task)
    (mark,) = model.marks.values()
    assert (mark.waiting, mark.version, mark.type) == (1, 3, "KeyRevoked")
    assert model.rows[key_id(1)] == Versioned(2, (1, 3))


async def test_a_retry_that_changes_nothing_says_that_it_was_tried(model: Model) -> None:
    log = await ledger_log(poisoned())
    runner = runner_of(log, model, projection=Positions(refuses=3))
    async with running(runner) as task:
        await until(lambda: runner.position == 6 and bool(model.marks), task)
        tries = model.marks[key_id(1)].tries
        await model.request_retry([key_id(1)])
        await until(lambda: model.marks[key_id(1)].tries > tries, task)
    (mark,) = model.marks.values()
    assert (mark.position, mark.waiting) == (3, 2)
    assert len(log.held(ALERTS.name, 0)) == 1, "it is told once"


async def test_what_waits_is_found_again_in_a_topic_that_was_made_anew(model: Model) -> None:
    ledger = poisoned()
    sent = records(ledger.entries)
    log = await log_of(sent, sent)
    await follow_to(6, runner_of(log, model, projection=Positions(refuses=3)))
    (mark,) = model.marks.values()
    model.marks = {mark.stream: replace(mark, offset=11)}
    anew = await ledger_log(ledger)
    await caught_up(runner_of(anew, model), model)
    assert model.rows[key_id(1)] == Versioned(3, (1, 3, 5))
