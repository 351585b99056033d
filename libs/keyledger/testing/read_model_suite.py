# ruff: noqa: S101 - shipped tests: a name is its sentence, literals are the example, assert asserts
"""What every read model promises to the runner, as tests that each backend inherits.

```python
class TestMyReadModel(ReadModelSuite):
    @pytest.fixture
    def open_model(self, tmp_path: Path) -> Open:
        @asynccontextmanager
        async def open_model() -> AsyncIterator[ReadModel[MyRow]]: ...  # each time: the same data, opened anew
        return open_model

    def example(self, number: int) -> MyRow: ...  # another row for another number
```
"""

from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from hashlib import sha256
from typing import Any, Final

import pytest

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, Parked, ReadModel, Rows, Versioned

Open = Callable[[], AbstractAsyncContextManager[ReadModel[Any]]]

STORE: Final = "5" * 32
BEYOND_32_BITS: Final = 2**40


class Killed(Exception):
    """Stands for the end of the process at this line."""


def at(position: int) -> Checkpoint:
    """Return a checkpoint at a position, its hash and offset unlike any other's."""
    return Checkpoint(STORE, position, sha256(str(position).encode()).digest(), position + 7)


def key(number: int) -> str:
    """Return the name of a stream: that of a key."""
    return f"key_{number:022d}"


def parked(stream: str, **more: Any) -> Parked:
    """Return the mark of a stream that is parked."""
    fields: dict[str, Any] = {
        "stream": stream,
        "position": BEYOND_32_BITS,
        "version": 2,
        "type": "KeyRotated",
        "recorded_at": BEYOND_32_BITS + 1,
        "offset": BEYOND_32_BITS + 2,
        "reason": "it cannot be folded",
    }
    return Parked(**{**fields, **more})


async def park(model: ReadModel[Any], *marks: Parked, expected: Checkpoint, new: Checkpoint) -> None:
    """Do what the runner does with a batch in which streams are parked."""
    async with model.transaction() as transaction:
        await transaction.move_checkpoint(expected=expected, new=new)
        await transaction.park(marks)


async def commit(
    model: ReadModel[Any], rows: Mapping[str, Versioned[Any]], *, expected: Checkpoint, new: Checkpoint
) -> None:
    """Do what the runner does with a batch."""
    async with model.transaction() as transaction:
        await transaction.move_checkpoint(expected=expected, new=new)
        await transaction.save(rows)


async def commit_rows_first(
    model: ReadModel[Any], rows: Mapping[str, Versioned[Any]], *, expected: Checkpoint, new: Checkpoint
) -> None:
    """Do it in the other order: a read model must not rely on the runner's."""
    async with model.transaction() as transaction:
        await transaction.save(rows)
        await transaction.move_checkpoint(expected=expected, new=new)


async def fail_before_the_commit(
    model: ReadModel[Any], rows: Mapping[str, Versioned[Any]], *, expected: Checkpoint, new: Checkpoint
) -> None:
    """Do all of it but the commit."""
    async with model.transaction() as transaction:
        await transaction.move_checkpoint(expected=expected, new=new)
        await transaction.save(rows)
        raise Killed


async def load(model: ReadModel[Any], *streams: str) -> dict[str, Versioned[Any]]:
    """Return what is committed."""
    async with model.transaction() as transaction:
        return await transaction.load(streams)


class ReadModelSuite:
    """Inherit it, and say in ``open_model`` how to open the read model, in ``example`` what its rows look like."""

    @pytest.fixture
    def open_model(self) -> Open:
        raise NotImplementedError

    def example(self, number: int) -> Any:
        """Return a row; another number, another row."""
        raise NotImplementedError

    @pytest.fixture
    async def model(self, open_model: Open) -> AsyncIterator[ReadModel[Any]]:
        async with open_model() as model:
            yield model

    async def test_a_new_read_model_stands_before_the_first_position(self, model: ReadModel[Any]) -> None:
        assert await model.checkpoint() == Checkpoint()

    async def test_rows_and_checkpoint_are_committed_together(self, model: ReadModel[Any]) -> None:
        row = Versioned(1, self.example(1))
        await commit(model, {key(1): row}, expected=Checkpoint(), new=at(1))
        assert await model.checkpoint() == at(1)
        assert await load(model, key(1)) == {key(1): row}

    async def test_what_was_committed_is_there_after_opening_it_again(self, open_model: Open) -> None:
        row = Versioned(1, self.example(1))
        async with open_model() as model:
            await commit(model, {key(1): row}, expected=Checkpoint(), new=at(1))
        async with open_model() as model:
            assert await model.checkpoint() == at(1)
            assert await load(model, key(1)) == {key(1): row}

    async def test_a_transaction_that_fails_leaves_neither_rows_nor_checkpoint(self, model: ReadModel[Any]) -> None:
        before = {key(1): Versioned(1, self.example(1))}
        await commit(model, before, expected=Checkpoint(), new=at(1))
        after = {name: Versioned(2, self.example(2)) for name in (key(1), key(2))}
        with pytest.raises(Killed):
            await fail_before_the_commit(model, after, expected=at(1), new=at(2))
        assert await model.checkpoint() == at(1)
        assert await load(model, key(1), key(2)) == before

    @pytest.mark.parametrize(
        "stale",
        [
            Checkpoint(),
            Checkpoint(STORE, 1, at(2).hash, at(1).next_offset),
            Checkpoint(STORE, 1, at(1).hash, at(1).next_offset + 1),
            Checkpoint(STORE, 2, at(1).hash, at(1).next_offset),
        ],
        ids=["at the beginning", "with another hash", "with another offset", "with another position"],
    )
    async def test_a_zombie_is_refused_with_its_rows(self, model: ReadModel[Any], stale: Checkpoint) -> None:
        before = {key(1): Versioned(1, self.example(1))}
        await commit(model, before, expected=Checkpoint(), new=at(1))
        with pytest.raises(CheckpointMoved):
            await commit(model, {key(1): Versioned(2, self.example(2))}, expected=stale, new=at(3))
        assert await model.checkpoint() == at(1)
        assert await load(model, key(1)) == before

    async def test_a_zombie_is_refused_although_its_rows_were_saved_first(self, model: ReadModel[Any]) -> None:
        await commit(model, {}, expected=Checkpoint(), new=at(1))
        with pytest.raises(CheckpointMoved):
            await commit_rows_first(model, {key(1): Versioned(1, self.example(1))}, expected=Checkpoint(), new=at(2))
        assert await load(model, key(1)) == {}

    async def test_a_row_that_is_saved_again_is_replaced_whole(self, model: ReadModel[Any]) -> None:
        await commit(model, {key(1): Versioned(1, self.example(1))}, expected=Checkpoint(), new=at(1))
        await commit(model, {key(1): Versioned(2, self.example(2))}, expected=at(1), new=at(2))
        assert await load(model, key(1)) == {key(1): Versioned(2, self.example(2))}

    async def test_a_row_that_vanished_keeps_its_version(self, model: ReadModel[Any]) -> None:
        await commit(model, {key(1): Versioned(1, self.example(1))}, expected=Checkpoint(), new=at(1))
        await commit(model, {key(1): Versioned(2, None)}, expected=at(1), new=at(2))
        assert await load(model, key(1)) == {key(1): Versioned(2, None)}

    async def test_a_stream_without_a_row_is_left_out_of_what_is_loaded(self, model: ReadModel[Any]) -> None:
        row = Versioned(1, self.example(1))
        await commit(model, {key(1): row}, expected=Checkpoint(), new=at(1))
        assert await load(model, key(1), key(2)) == {key(1): row}
        assert await load(model) == {}

    async def test_a_full_batch_fits_into_one_transaction(self, model: ReadModel[Any]) -> None:
        rows = {key(number): Versioned(1, self.example(number)) for number in range(1_000)}
        await commit(model, rows, expected=Checkpoint(), new=at(1_000))
        assert await load(model, *rows) == rows

    async def test_positions_and_offsets_may_exceed_32_bits(self, model: ReadModel[Any]) -> None:
        await commit(model, {}, expected=Checkpoint(), new=at(BEYOND_32_BITS))
        await commit(model, {}, expected=at(BEYOND_32_BITS), new=at(BEYOND_32_BITS + 1))
        assert await model.checkpoint() == at(BEYOND_32_BITS + 1)

    async def test_a_mark_is_committed_with_the_checkpoint_and_the_row_stays(self, open_model: Open) -> None:
        row = Versioned(1, self.example(1))
        marks = {key(1): parked(key(1)), key(2): parked(key(2), version=1, waiting=7, tries=3)}
        async with open_model() as model:
            await commit(model, {key(1): row}, expected=Checkpoint(), new=at(1))
            await park(model, *marks.values(), expected=at(1), new=at(2))
        async with open_model() as model:
            assert await model.parked() == marks
            assert (await load(model, key(1)))[key(1)] == row

    async def test_a_mark_replaces_the_one_before(self, model: ReadModel[Any]) -> None:
        await park(model, parked(key(1)), expected=Checkpoint(), new=at(1))
        await park(model, parked(key(1), waiting=2), expected=at(1), new=at(2))
        assert await model.parked() == {key(1): parked(key(1), waiting=2)}

    async def test_a_transaction_that_fails_parks_nothing(self, model: ReadModel[Any]) -> None:
        with suppress(Killed):
            async with model.transaction() as transaction:
                await transaction.move_checkpoint(expected=Checkpoint(), new=at(1))
                await transaction.park([parked(key(1))])
                raise Killed
        assert (await model.checkpoint(), await model.parked()) == (Checkpoint(), {})

    async def test_a_zombie_parks_nothing(self, model: ReadModel[Any]) -> None:
        await commit(model, {}, expected=Checkpoint(), new=at(1))
        with pytest.raises(CheckpointMoved):
            await park(model, parked(key(1)), expected=Checkpoint(), new=at(1))
        assert await model.parked() == {}

    async def test_a_released_stream_goes_on_from_its_row_or_from_nothing(self, model: ReadModel[Any]) -> None:
        await commit(model, {key(1): Versioned(1, self.example(1))}, expected=Checkpoint(), new=at(1))
        await park(model, *(parked(key(number)) for number in (1, 2, 3)), expected=at(1), new=at(2))
        async with model.transaction() as transaction:
            await transaction.move_checkpoint(expected=at(2), new=at(2))
            await transaction.release([key(1), key(2)])
            await transaction.save({key(1): Versioned(2, self.example(2))})
        assert await model.parked() == {key(3): parked(key(3))}
        assert (await load(model, key(1)))[key(1)] == Versioned(2, self.example(2))

    async def test_a_request_to_try_again_is_taken_once(self, model: ReadModel[Any]) -> None:
        marks = [parked(key(number)) for number in (1, 2, 3)]
        await park(model, *marks, expected=Checkpoint(), new=at(1))
        assert await model.take_retry_requests() == frozenset()
        await model.request_retry([key(1)])
        await model.request_retry([key(3)])
        assert await model.take_retry_requests() == {key(1), key(3)}
        assert await model.take_retry_requests() == frozenset()

    async def test_killed_between_checkpoint_and_rows_it_starts_again_from_before_both(
        self, model: ReadModel[Any]
    ) -> None:
        assert await self._killed_between_checkpoint_and_rows(model) == (0, {})

    async def test_a_checkpoint_committed_before_its_rows_would_lose_them(self, model: ReadModel[Any]) -> None:
        """Why one transaction: with two, position 1 counts as applied, its row is missing, and nobody comes back."""
        assert await self._killed_between_checkpoint_and_rows(CheckpointFirst(model)) == (1, {})

    async def _killed_between_checkpoint_and_rows(self, model: ReadModel[Any]) -> tuple[int, dict[str, Any]]:
        with suppress(Killed):
            async with model.transaction() as transaction:
                await transaction.move_checkpoint(expected=Checkpoint(), new=at(1))
                raise Killed
        return (await model.checkpoint()).position, await load(model, key(1))


class CheckpointFirst:
    """The naive way, kept to be shown wrong: each step of a batch in a transaction of its own."""

    def __init__(self, model: ReadModel[Any]) -> None:
        self._model = model

    async def checkpoint(self) -> Checkpoint:
        return await self._model.checkpoint()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Rows[Any]]:
        yield self

    async def parked(self) -> dict[str, Parked]:
        return await self._model.parked()

    async def request_retry(self, streams: Collection[str]) -> None:
        await self._model.request_retry(streams)

    async def take_retry_requests(self) -> frozenset[str]:
        return await self._model.take_retry_requests()

    async def successor(self) -> ReadModel[Any] | None:
        return await self._model.successor()

    async def switch(self, successor: ReadModel[Any]) -> None:
        await self._model.switch(successor)

    async def load(self, streams: Collection[str]) -> dict[str, Versioned[Any]]:
        return await load(self._model, *streams)

    async def park(self, parked: Collection[Parked]) -> None:
        async with self._model.transaction() as rows:
            await rows.park(parked)

    async def release(self, streams: Collection[str]) -> None:
        async with self._model.transaction() as rows:
            await rows.release(streams)

    async def save(self, changed: Mapping[str, Versioned[Any]]) -> None:
        async with self._model.transaction() as rows:
            await rows.save(changed)

    async def move_checkpoint(self, *, expected: Checkpoint, new: Checkpoint) -> None:
        async with self._model.transaction() as rows:
            await rows.move_checkpoint(expected=expected, new=new)
