import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence

import pytest

from keyledger.eventstore.admission import Outcome
from keyledger.eventstore.port import (
    Append,
    Appended,
    LedgerUnavailable,
    MalformedAppend,
    OutcomeUnknown,
)
from keyledger.eventstore.writer import (
    MAX_BATCH_APPENDS,
    MAX_BATCH_BYTES,
    PATIENCE_SECONDS,
    BatchRefused,
    CommitUncertain,
    GroupCommit,
)
from keyledger.testing.ledger_examples import SteppedClock, a_claim, an_append, an_event

Step = Callable[[Sequence[Append]], Sequence[Outcome]]


class ManualClock(SteppedClock):
    """Sleeping moves it on, at once."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = 0.0

    def monotonic(self) -> float:
        return self.passed

    async def sleep(self, seconds: float) -> None:
        self.passed += seconds
        await asyncio.sleep(0)


class ScriptedCommitter:
    """Answers each batch by the next step of its script; the last step goes on for ever."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.script: list[Step] = [succeed]
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        self.batches.append([append.stream for append in batch])
        await self.gate.wait()
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return step(batch)


def succeed(batch: Sequence[Append]) -> Sequence[Outcome]:
    return [Appended(number, 1, 1) for number, _ in enumerate(batch, start=1)]


def fail(error: Exception) -> Step:
    def step(_batch: Sequence[Append]) -> Sequence[Outcome]:
        raise error

    return step


def refuse_those_named(name: str) -> Step:
    def step(batch: Sequence[Append]) -> Sequence[Outcome]:
        if any(append.stream == name for append in batch):
            raise BatchRefused("a value")
        return succeed(batch)

    return step


@pytest.fixture
def committer() -> ScriptedCommitter:
    return ScriptedCommitter()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def writer(committer: ScriptedCommitter, clock: ManualClock) -> AsyncIterator[GroupCommit]:
    writer = GroupCommit(committer, clock=clock)
    yield writer
    committer.gate.set()
    await writer.close()


async def handed_in(writer: GroupCommit, appends: Iterable[Append]) -> list[asyncio.Task[object]]:
    tasks: list[asyncio.Task[object]] = [asyncio.create_task(writer.append(append)) for append in appends]
    await asyncio.sleep(0)
    return tasks


async def until_it_commits(committer: ScriptedCommitter) -> None:
    while not committer.batches:  # noqa: ASYNC110 - a few turns of the loop, and no other signal to wait for
        await asyncio.sleep(0)


async def test_what_waited_while_a_commit_ran_goes_into_the_next_one(
    writer: GroupCommit, committer: ScriptedCommitter
) -> None:
    committer.gate.clear()
    first = await handed_in(writer, [an_append("first")])
    await until_it_commits(committer)
    rest = await handed_in(writer, (an_append(f"{number}") for number in range(5)))
    committer.gate.set()
    await asyncio.gather(*first, *rest)
    assert committer.batches == [["first"], ["0", "1", "2", "3", "4"]]


async def test_a_batch_is_bounded_in_number_and_size(writer: GroupCommit, committer: ScriptedCommitter) -> None:
    await asyncio.gather(*await handed_in(writer, (an_append("a") for _ in range(MAX_BATCH_APPENDS + 1))))
    assert [len(batch) for batch in committer.batches] == [MAX_BATCH_APPENDS, 1]
    half = tuple(an_event(bytes(MAX_BATCH_BYTES // 32)) for _ in range(16))
    await asyncio.gather(*await handed_in(writer, (an_append("b", events=half) for _ in range(3))))
    assert [len(batch) for batch in committer.batches[2:]] == [2, 1]


async def test_an_append_cancelled_while_it_waited_is_never_committed(
    writer: GroupCommit, committer: ScriptedCommitter
) -> None:
    committer.gate.clear()
    (first,) = await handed_in(writer, [an_append("first")])
    await until_it_commits(committer)
    cancelled, other = await handed_in(writer, [an_append("cancelled"), an_append("other")])
    cancelled.cancel()
    committer.gate.set()
    await asyncio.gather(first, other)
    assert committer.batches == [["first"], ["other"]]


async def test_a_caller_cancelled_during_the_commit_does_not_disturb_the_others(
    writer: GroupCommit, committer: ScriptedCommitter
) -> None:
    committer.gate.clear()
    cancelled, other = await handed_in(writer, [an_append("cancelled"), an_append("other")])
    await until_it_commits(committer)
    cancelled.cancel()
    committer.gate.set()
    assert await other == Appended(2, 1, 1)


async def test_an_uncertain_commit_is_tried_again(writer: GroupCommit, committer: ScriptedCommitter) -> None:
    committer.script = [fail(CommitUncertain("cut")), fail(LedgerUnavailable("not back yet")), succeed]
    assert await writer.append(an_append("a")) == Appended(1, 1, 1)
    assert len(committer.batches) == 3


async def test_a_commit_that_hung_for_long_is_looked_up_all_the_same(
    writer: GroupCommit, committer: ScriptedCommitter, clock: ManualClock
) -> None:
    def hang(_batch: Sequence[Append]) -> Sequence[Outcome]:
        clock.passed += 2 * PATIENCE_SECONDS
        raise CommitUncertain("no answer in time")

    committer.script = [hang, succeed]
    assert await writer.append(an_append("a")) == Appended(1, 1, 1)


@pytest.mark.parametrize("append", [an_append("a"), an_append("a", events=(), idempotency=a_claim())])
async def test_an_uncertain_commit_that_cannot_be_resolved_is_unknown(
    writer: GroupCommit, committer: ScriptedCommitter, clock: ManualClock, append: Append
) -> None:
    committer.script = [fail(CommitUncertain("cut")), fail(LedgerUnavailable("gone"))]
    with pytest.raises(OutcomeUnknown):
        await writer.append(append)
    assert clock.passed == pytest.approx(PATIENCE_SECONDS, abs=0.1)


async def test_what_had_nothing_to_write_is_certainly_not_written(
    writer: GroupCommit, committer: ScriptedCommitter
) -> None:
    committer.script = [fail(CommitUncertain("cut")), fail(LedgerUnavailable("gone"))]
    with pytest.raises(LedgerUnavailable):
        await writer.append(an_append("a", events=()))


async def test_a_database_that_is_away_is_said_so_at_once(writer: GroupCommit, committer: ScriptedCommitter) -> None:
    committer.script = [fail(LedgerUnavailable("gone")), succeed]
    with pytest.raises(LedgerUnavailable):
        await writer.append(an_append("a"))
    assert isinstance(await writer.append(an_append("a")), Appended)


async def test_a_value_that_only_the_database_refuses_fails_alone(
    writer: GroupCommit, committer: ScriptedCommitter
) -> None:
    committer.script = [refuse_those_named("bad")]
    tasks = await handed_in(writer, [an_append("a"), an_append("bad"), an_append("b")])
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [Appended, MalformedAppend, Appended]


async def test_a_mistake_in_a_committer_reaches_its_callers_and_nobody_else(
    writer: GroupCommit, committer: ScriptedCommitter
) -> None:
    committer.script = [fail(ZeroDivisionError()), succeed]
    with pytest.raises(ZeroDivisionError):
        await writer.append(an_append("a"))
    assert isinstance(await writer.append(an_append("b")), Appended)


async def test_a_malformed_append_never_reaches_a_batch(writer: GroupCommit, committer: ScriptedCommitter) -> None:
    with pytest.raises(MalformedAppend):
        await writer.append(an_append("nul\0"))
    assert committer.batches == []


async def test_closing_waits_for_what_was_handed_in(committer: ScriptedCommitter, clock: ManualClock) -> None:
    writer = GroupCommit(committer, clock=clock)
    committer.gate.clear()
    tasks = await handed_in(writer, [an_append("a"), an_append("b")])
    closing = asyncio.create_task(writer.close())
    await until_it_commits(committer)
    assert not closing.done()
    committer.gate.set()
    await closing
    assert [task.done() for task in tasks] == [True, True]
    with pytest.raises(LedgerUnavailable):
        await writer.append(an_append("late"))
