import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, ReadModel, Versioned
from keyledger.projections.sql import NewerGeneration, open_engine
from keyledger.testing.read_model_suite import Open, ReadModelSuite, at, commit, key, load
from keyledger_directory.projector import GENERATION, KeyRow
from keyledger_directory.store import DirectoryStore


class DirectorySuite(ReadModelSuite):
    """The directory's read model on one database."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @asynccontextmanager
    async def opened(self, url: str, *, generation: int = GENERATION) -> AsyncIterator[DirectoryStore]:
        schema = None if url.startswith("sqlite") else "directory"
        store = DirectoryStore(open_engine(url, schema=schema), generation=generation)
        try:
            await store.prepare()
            yield store
        finally:
            await store.close()

    @pytest.fixture
    def open_model(self, url: str) -> Open:
        @asynccontextmanager
        async def open_model() -> AsyncIterator[ReadModel[KeyRow]]:
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

    async def test_a_raised_generation_starts_anew_and_fences_the_old_one(self, url: str) -> None:
        async with self.opened(url) as old:
            await commit(old, {key(1): Versioned(1, self.example(1))}, expected=Checkpoint(), new=at(1))
            async with self.opened(url, generation=GENERATION + 1) as new:
                assert await new.checkpoint() == Checkpoint()
                assert await load(new, key(1)) == {}
                with pytest.raises(CheckpointMoved):
                    await commit(old, {}, expected=at(1), new=at(2))
                with pytest.raises(CheckpointMoved):
                    await old.checkpoint()

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
