import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import inspect

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, ReadModel, Versioned
from keyledger.projections.sql_read_model import NewerGeneration
from keyledger.testing.read_model_suite import Open, ReadModelSuite, at, commit, key, load
from keyledger_directory.projector import GENERATION, DirectoryRow, KeyRow
from keyledger_directory.store import DirectoryStore
from tests.integration.directory.projector_process import store_at


class DirectorySuite(ReadModelSuite):
    """The directory's read model on one database."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self, url: str, *, generation: int = GENERATION) -> AsyncIterator[DirectoryStore]:
        store = store_at(url, generation=generation)
        try:
            await store.prepare()
            yield store
        finally:
            await store.close()

    @pytest.fixture
    def open_model(self, url: str) -> Open:
        @asynccontextmanager
        async def open_model() -> AsyncIterator[ReadModel[DirectoryRow]]:
            async with self.opened(url) as store:
                yield store

        return open_model

    def example(self, number: int) -> KeyRow:
        return KeyRow(
            organization_id="org_1",
            created_position=number,
            type="team",
            owner_type="team",
            owner_id=f"team_{number}",
            name=f"Ключ № {number}",
            description="",
            role=None if number % 2 else "viewer",
            environment="prod",
            created_at=2**50 + number,
            created_by_user="user_1",
            created_by_key=None,
            updated_at=2**50 + number,
            metadata='{"a":1}',
            secrets='[["1",5,null]]',
            expires_at=None if number % 3 else 2**51,
            revoked_at=None if number % 5 else 2**51 + 1,
            revocation_reason=None if number % 5 else "unspecified",
        )

    async def test_of_two_writers_at_once_the_later_one_is_the_zombie(self, url: str) -> None:
        async with self.opened(url) as first, self.opened(url) as second:
            async with first.transaction() as rows:
                await rows.move_checkpoint(expected=Checkpoint(), new=at(1))
                zombie = asyncio.create_task(
                    commit(second, {key(1): Versioned(1, self.example(2))}, expected=Checkpoint(), new=at(2))
                )
                done, _ = await asyncio.wait({zombie}, timeout=0.2)
                assert not done, "it must not get past the checkpoint while the first one holds it"
                await rows.save({key(1): Versioned(1, self.example(1))})
            with pytest.raises(CheckpointMoved):
                await zombie
            assert await load(second, key(1)) == {key(1): Versioned(1, self.example(1))}

    async def test_a_raised_generation_is_built_beside_the_old_one_and_fences_it_once_it_is_as_far(
        self, url: str
    ) -> None:
        async with self.opened(url) as old:
            await commit(old, {key(1): Versioned(1, self.example(1))}, expected=Checkpoint(), new=at(1))
            async with self.opened(url, generation=GENERATION + 1) as new:
                assert await new.checkpoint() == Checkpoint()
                assert await load(new, key(1)) == {}
                await new.successor()
                await commit(old, {}, expected=at(1), new=at(2))
                await commit(new, {key(1): Versioned(1, self.example(2))}, expected=Checkpoint(), new=at(2))
                await new.successor()
                with pytest.raises(CheckpointMoved):
                    await commit(old, {}, expected=at(2), new=at(3))
                with pytest.raises(CheckpointMoved):
                    await old.checkpoint()
            async with self.opened(url, generation=GENERATION + 1) as again:
                assert await load(again, key(1)) == {key(1): Versioned(1, self.example(2))}

    async def test_a_generation_that_was_offered_takes_the_place_of_the_serving_one(self, url: str) -> None:
        async with self.opened(url) as serving, self.opened(url) as elsewhere:
            await commit(serving, {key(1): Versioned(1, self.example(1))}, expected=Checkpoint(), new=at(1))
            built = await elsewhere.begin()
            await commit(built, {key(1): Versioned(1, self.example(2))}, expected=Checkpoint(), new=at(1))
            assert await serving.successor() is None, "it is not offered yet"
            await elsewhere.offer(built)
            successor = await serving.successor()
            assert successor is not None
            await serving.switch(successor)
            assert await load(serving, key(1)) == {key(1): Versioned(1, self.example(2))}
            assert await serving.successor() is None
            assert [one.generation for one in await elsewhere.generations()] == [built.generation]
            tables = await self.tables(serving)
            assert sorted(name for name in tables if name.startswith("api_keys")) == [
                table.name for table in built.rows.tables
            ]

    async def test_a_rebuild_that_was_killed_is_gone_on_with(self, url: str) -> None:
        async with self.opened(url) as serving:
            await commit(serving, {}, expected=Checkpoint(), new=at(2))
            await commit(await serving.begin(), {}, expected=Checkpoint(), new=at(1))
            assert await (await serving.begin()).checkpoint() == at(1)

    async def test_rows_are_compared_at_one_moment_whatever_is_written_meanwhile(self, url: str) -> None:
        async with self.opened(url) as store:
            rows = {key(number): Versioned(1, self.example(number)) for number in range(3_000)}
            await commit(store, rows, expected=Checkpoint(), new=at(1))
            async with store.current.snapshot() as (checkpoint, lines):
                await commit(store, {key(0): Versioned(2, self.example(1))}, expected=at(1), new=at(2))
                found = [line async for line in lines]
            assert checkpoint == at(1)
            assert [line[0] for line in found] == sorted(rows)
            assert {line[1] for line in found} == {1}

    async def tables(self, store: DirectoryStore) -> list[str]:
        async with store.engine.connect() as connection:
            schema = None if connection.dialect.name == "sqlite" else "directory"
            return await connection.run_sync(lambda sync: inspect(sync).get_table_names(schema))

    async def test_an_older_program_does_not_drop_what_a_newer_one_built(self, url: str) -> None:
        async with self.opened(url, generation=GENERATION + 1) as newer:
            await commit(newer, {key(1): Versioned(1, self.example(1))}, expected=Checkpoint(), new=at(1))
            with pytest.raises(NewerGeneration):
                async with self.opened(url):
                    pass
            assert await newer.checkpoint() == at(1)

    async def test_several_processes_may_make_the_tables_at_once(self, url: str) -> None:
        async def prepare() -> None:
            async with self.opened(url):
                pass

        await asyncio.gather(*(prepare() for _ in range(4)))


class TestDirectoryOnSqlite(DirectorySuite):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'directory.db'}"


@pytest.mark.postgres
class TestDirectoryOnPostgres(DirectorySuite):
    @pytest.fixture
    def url(self, postgres_database: str) -> str:
        return postgres_database
