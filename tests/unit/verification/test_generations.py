"""The index is built anew beside the one that serves, and takes its place at once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lmdb
import pytest

from keyledger.projections.port import Checkpoint, Generation, Versioned
from keyledger.testing.read_model_suite import at, commit, key, load
from keyledger.verification.index import LmdbIndex, build_generation, open_index, open_index_for_reading
from keyledger.verification.index_files import IndexFiles, IndexInUse
from keyledger.verification.records import OwnerRecord
from tests.unit.verification.nodes import Place, running, until
from tests.unit.verification.world import INDEX_SIZE_MB, World


def opened(folder: Path, number: int = 1) -> LmdbIndex:
    return open_index(folder, generation=number, size_mb=INDEX_SIZE_MB)


def built(folder: Path, generation: Generation) -> LmdbIndex:
    return build_generation(IndexFiles(folder), generation, size_mb=INDEX_SIZE_MB)


def folders(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("generation-*"))


def row(name: str) -> Versioned[OwnerRecord]:
    return Versioned(1, OwnerRecord(name, "user"))


async def test_a_generation_that_was_offered_takes_the_place_of_the_serving_one(tmp_path: Path) -> None:
    serving, rebuilt = opened(tmp_path), built(tmp_path, Generation(1, 1))
    await commit(serving, {key(1): row("old")}, expected=Checkpoint(), new=at(1))
    await commit(rebuilt, {key(1): row("new")}, expected=Checkpoint(), new=at(1))
    assert await serving.successor() is None, "it is not offered yet"
    IndexFiles(tmp_path).offer(Generation(1, 1))
    assert await serving.successor() is None, "its builder has it open"
    rebuilt.close()
    successor = await serving.successor()
    assert successor is not None
    assert await serving.successor() is successor, "not opened twice"
    await serving.switch(successor)
    assert await load(serving, key(1)) == {key(1): row("new")}
    assert await serving.successor() is None
    assert folders(tmp_path) == ["generation-1.1"]
    await commit(serving, {key(1): row("newer")}, expected=at(1), new=at(2))
    serving.close()
    again = opened(tmp_path)
    assert await load(again, key(1)) == {key(1): row("newer")}
    again.close()


@pytest.mark.parametrize("switched", [False, True], ids=["before the switch", "after it"])
async def test_killed_around_the_switch_it_serves_the_one_or_the_other_whole(tmp_path: Path, switched: bool) -> None:  # noqa: FBT001 - two cases
    serving, rebuilt = opened(tmp_path), built(tmp_path, Generation(1, 1))
    await commit(serving, {key(1): row("old")}, expected=Checkpoint(), new=at(1))
    await commit(rebuilt, {key(1): row("new")}, expected=Checkpoint(), new=at(1))
    rebuilt.close()
    serving.close()
    files = IndexFiles(tmp_path)
    files.offer(Generation(1, 1))
    if switched:
        files.serve(Generation(1, 1))
    again = opened(tmp_path)
    assert await load(again, key(1)) == {key(1): row("new" if switched else "old")}
    assert (files.offered() is None) == switched
    again.close()
    assert folders(tmp_path) == (["generation-1.1"] if switched else ["generation-1", "generation-1.1"])


async def test_a_raised_number_is_built_beside_the_old_one_and_serves_once_it_is_as_far(tmp_path: Path) -> None:
    old = opened(tmp_path)
    await commit(old, {key(1): row("old")}, expected=Checkpoint(), new=at(2))
    old.close()
    new = opened(tmp_path, 2)
    assert await new.checkpoint() == Checkpoint()
    await commit(new, {}, expected=Checkpoint(), new=at(1))
    assert await new.successor() is None
    assert folders(tmp_path) == ["generation-1", "generation-2"], "an older program can still go back"
    await commit(new, {key(1): row("new")}, expected=at(1), new=at(2))
    assert await new.successor() is None
    assert folders(tmp_path) == ["generation-2"]
    new.close()
    reader = open_index_for_reading(tmp_path, generation=2, size_mb=INDEX_SIZE_MB)
    assert reader.applied() == at(2)
    reader.close()


@pytest.mark.parametrize("broken", ["writer.lock", "data/data.mdb"])
async def test_a_generation_that_cannot_be_opened_is_not_taken_and_ends_nobody(tmp_path: Path, broken: str) -> None:
    """As one that root has built for a node that is not root."""
    serving = opened(tmp_path)
    await commit(serving, {key(1): row("old")}, expected=Checkpoint(), new=at(1))
    (tmp_path / "generation-1.1" / broken).mkdir(parents=True)
    IndexFiles(tmp_path).offer(Generation(1, 1))
    assert await serving.successor() is None
    assert IndexFiles(tmp_path).offered() is None, "it is said once, and not each second"
    assert await load(serving, key(1)) == {key(1): row("old")}
    serving.close()
    opened(tmp_path).close()


async def test_an_older_program_that_still_runs_keeps_its_index_until_the_next_start(tmp_path: Path) -> None:
    old, new = opened(tmp_path), opened(tmp_path, 2)
    await commit(new, {key(1): row("new")}, expected=Checkpoint(), new=at(1))
    assert await new.successor() is None
    await commit(old, {key(1): row("old")}, expected=Checkpoint(), new=at(1))
    new.close()
    old.close()
    assert folders(tmp_path) == ["generation-1", "generation-2"]
    opened(tmp_path, 2).close()
    assert folders(tmp_path) == ["generation-2"]


def test_what_is_being_written_is_not_deleted(tmp_path: Path) -> None:
    writer = built(tmp_path, Generation(1, 1))
    with pytest.raises(IndexInUse):
        IndexFiles(tmp_path).remove(Generation(1, 1))
    writer.close()


def test_where_there_is_no_index_there_is_nothing_to_read(tmp_path: Path) -> None:
    with pytest.raises(lmdb.Error):
        open_index_for_reading(tmp_path, generation=1, size_mb=INDEX_SIZE_MB)


async def test_verdicts_come_from_the_new_generation_from_the_switch_on(tmp_path: Path) -> None:
    """The number of a commit in one index says nothing of a commit in another: what was joined is joined anew."""
    place = Place(tmp_path)
    org = place.facts.organization()
    _, token = place.facts.key(org, place.facts.user(org))
    async with running(place):
        await place.publish()
        await place.beat()
        await until(lambda: place.node.started)
        assert (await place.ask(token)).json["permissions"]
        rebuilt = built(tmp_path, Generation(1, 1))
        await commit(rebuilt, {}, expected=Checkpoint(), new=place.index.applied())
        commits = place.index.environment.info()["last_txnid"]
        while rebuilt.environment.info()["last_txnid"] < commits:
            await commit(rebuilt, {}, expected=place.index.applied(), new=place.index.applied())
        async with place.index.transaction() as rows:
            await rows.move_checkpoint(expected=place.index.applied(), new=place.index.applied())
            lines = await rows.load([entry.header.stream for entry in place.facts.entries])
        async with rebuilt.transaction() as rows:
            await rows.save({stream: line for stream, line in lines.items() if "/role/" not in stream})
        assert rebuilt.environment.info()["last_txnid"] == place.index.environment.info()["last_txnid"]
        assert (await place.ask(token)).json["permissions"]
        rebuilt.close()
        IndexFiles(tmp_path).offer(Generation(1, 1))
        await until(lambda: place.index.generation == Generation(1, 1))
        assert (await place.ask(token)).json["permissions"] == []


class Interrupted:
    """An environment in which, once, another thread checks a key while a transaction is asked for its number."""

    def __init__(self, environment: lmdb.Environment, meanwhile: Callable[[], object]) -> None:
        self._environment, self._meanwhile = environment, [meanwhile]

    def begin(self) -> Any:
        return InterruptedTransaction(self._environment.begin(), self._meanwhile)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._environment, name)


class InterruptedTransaction:
    def __init__(self, transaction: lmdb.Transaction, meanwhile: list[Callable[[], object]]) -> None:
        self._transaction, self._meanwhile = transaction, meanwhile

    def id(self) -> int:
        if self._meanwhile:
            self._meanwhile.pop()()
        return self._transaction.id()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transaction, name)


async def test_two_threads_at_the_switch_both_see_the_new_generation(world: World, tmp_path: Path) -> None:
    org = world.facts.organization()
    _, token = world.facts.key(org, world.facts.user(org))
    await world.fold()
    verifier, ask, serving = world.verifier(), world.ask(), world.index.environment
    assert verifier.verify(token, ask).permissions
    rebuilt = built(tmp_path / "rebuilt", Generation(1, 1))
    lines = await load(world.index, *(entry.header.stream for entry in world.facts.entries))
    without_roles = {stream: line for stream, line in lines.items() if "/role/" not in stream}
    await commit(rebuilt, without_roles, expected=Checkpoint(), new=world.index.applied())
    assert rebuilt.environment.info()["last_txnid"] == serving.info()["last_txnid"], "by it they are not told apart"
    world.index.environment = cast(
        "lmdb.Environment", Interrupted(rebuilt.environment, lambda: verifier.verify(token, ask))
    )
    assert verifier.verify(token, ask).permissions == ()
    world.index.environment = serving
    rebuilt.close()
