"""Building a read model anew: what is compared, when it is switched, and what a kill leaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from sqlalchemy import update

from keyledger.contracts.topics import LEDGER
from keyledger.projections.port import Generation, Versioned
from keyledger.projections.rebuilding import NotNow, compare, ledger_head, rebuild
from keyledger.projections.runner import ProjectionRunner
from keyledger.projections.sql_read_model import SqlGeneration
from keyledger.projections.sql_rebuilding import SqlRebuildable
from keyledger.runtime.clock import SystemClock
from keyledger.testing.memory_log import MemoryLog
from keyledger.verification.index import LmdbIndex, open_index
from keyledger.verification.index_files import IndexFiles
from keyledger.verification.index_rebuilding import IndexRebuildable
from keyledger.verification.projector import VerificationProjection
from keyledger_directory.projector import GENERATION, DirectoryRow, KeyDirectory, KeyRow
from keyledger_directory.store import DirectoryStore
from keyledger_directory.tables import DirectoryTables
from tests.integration.directory.projector_process import store_at
from tests.integration.projections.places import INDEX_SIZE_MB, held
from tests.unit.projections.following import DEADLINE_SECONDS, log_of, running, until
from tests.unit.projections.written import Written, created, key_id, records, revoked, rotated, team, written

KEYS = 1_500
CLOCK = SystemClock()


def lives() -> Written:
    ledger = written(*(created(number) for number in range(KEYS)), *(rotated(number) for number in range(KEYS)))
    ledger.add(team("misplaced"), stream=key_id(7), version=3)
    ledger.versions[key_id(7)] = 3
    ledger.add(revoked(7))
    return ledger


@pytest.fixture
async def ledger() -> Written:
    return lives()


@pytest.fixture
async def log(ledger: Written) -> MemoryLog:
    return await log_of(records(ledger.entries))


def seen_by_an_operator(store: DirectoryStore, log: MemoryLog) -> SqlRebuildable:
    async def reach(generation: SqlGeneration[DirectoryRow, DirectoryTables], position: int) -> None:
        await ProjectionRunner(KeyDirectory(), generation, log, clock=CLOCK).reach(position)

    return SqlRebuildable(store, reach=reach, head=lambda: ledger_head(log))


class RebuiltDirectory:
    """The directory, on one database."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    async def serving(self, url: str) -> AsyncIterator[DirectoryStore]:
        store = store_at(url)
        await store.prepare()
        yield store
        await store.close()

    @pytest.fixture
    async def operator(self, url: str, log: MemoryLog) -> AsyncIterator[SqlRebuildable]:
        store = seen_by_an_operator(store_at(url), log)
        yield store
        await store.close()

    @asynccontextmanager
    async def served(self, store: DirectoryStore, log: MemoryLog) -> AsyncIterator[asyncio.Task[None]]:
        runner = ProjectionRunner(KeyDirectory(), store, log, clock=CLOCK)
        async with running(runner) as task:
            await until(lambda: runner.position >= 2 * KEYS, task)
            yield task

    async def test_it_is_built_compared_and_switched_while_writes_go_on(
        self, serving: DirectoryStore, operator: SqlRebuildable, log: MemoryLog, ledger: Written, tmp_path: Path
    ) -> None:
        said: list[str] = []
        async with self.served(serving, log) as task:
            writing = asyncio.create_task(self._write(log, ledger))
            outcome = await rebuild(operator, agreed=False, say=said.append, clock=CLOCK, wait_seconds=60)
            writing.cancel()
            await asyncio.wait({writing})
            assert not task.done()
            last = len(ledger.entries)
            async with asyncio.timeout(DEADLINE_SECONDS):
                while (await serving.checkpoint()).position < last:
                    await asyncio.wait({task}, timeout=0.01)
                    assert not task.done()
        assert outcome == "switched"
        assert "are the same at position" in said[-1]
        assert serving.current.generation == Generation(GENERATION, 1)
        clean = store_at(f"sqlite:///{tmp_path / 'clean.db'}")
        await clean.prepare()
        await ProjectionRunner(KeyDirectory(), clean, log, clock=CLOCK).reach(last)
        rows, parked, checkpoint = await held(serving)
        clean_rows, _, clean_checkpoint = await held(clean)
        assert (rows, checkpoint) == (clean_rows, clean_checkpoint)
        assert list(parked) == [key_id(7)]
        await clean.close()

    async def _write(self, log: MemoryLog, ledger: Written) -> None:
        while True:
            ledger.add(rotated(len(ledger.entries) % KEYS))
            await log.append(LEDGER.name, 0, records(ledger.entries[-1:]))
            await asyncio.sleep(0.002)

    async def test_what_differs_is_counted_and_switched_only_where_somebody_agrees(
        self, serving: DirectoryStore, operator: SqlRebuildable, log: MemoryLog
    ) -> None:
        said: list[str] = []
        async with self.served(serving, log):
            async with serving.engine.begin() as connection:
                keys = serving.current.rows.keys
                await connection.execute(update(keys).where(keys.c.id == key_id(3)).values(name="changed by hand"))
            assert await rebuild(operator, agreed=False, say=said.append, clock=CLOCK, wait_seconds=60) == "differs"
            assert "1 differ, 0 are only in what serves, 0 only in what was built" in said[-1]
            assert serving.current.generation == Generation(GENERATION)
            assert await rebuild(operator, agreed=True, say=said.append, clock=CLOCK, wait_seconds=60) == "switched"
        async with serving.transaction() as rows:
            found = (await rows.load([key_id(3)]))[key_id(3)]
        assert isinstance(found.row, KeyRow)
        assert found.row.name == "key 3"

    async def test_a_rebuild_that_was_killed_goes_on_where_it_was_and_may_be_discarded(
        self, serving: DirectoryStore, operator: SqlRebuildable, log: MemoryLog
    ) -> None:
        await ProjectionRunner(KeyDirectory(), serving, log, clock=CLOCK).reach(2 * KEYS)
        async with operator.begin() as built:
            await built.reach(700)
        async with operator.begin() as again:
            assert (again.generation, await again.position()) == (built.generation, 700)
        assert [one.state for one in await operator.statuses()] == ["serving", "building"]
        assert await operator.discard() == [built.generation]
        assert [one.state for one in await operator.statuses()] == ["serving"]

    async def test_another_programs_generation_is_left_alone(
        self, serving: DirectoryStore, url: str, log: MemoryLog
    ) -> None:
        raised = store_at(url, generation=GENERATION + 1)
        with pytest.raises(NotNow, match="another program"):
            await rebuild(
                seen_by_an_operator(raised, log), agreed=True, say=lambda _: None, clock=CLOCK, wait_seconds=1
            )
        await raised.close()
        assert (await serving.checkpoint()).position == 0


class TestOnSqlite(RebuiltDirectory):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'directory.db'}"


@pytest.mark.postgres
class TestOnPostgres(RebuiltDirectory):
    @pytest.fixture
    def url(self, postgres_database: str) -> str:
        return postgres_database


INDEX_GENERATION = VerificationProjection.generation


async def indexed(folder: Path, log: MemoryLog, position: int) -> LmdbIndex:
    index = open_index(folder, generation=INDEX_GENERATION, size_mb=INDEX_SIZE_MB)
    await ProjectionRunner(VerificationProjection(), index, log, clock=CLOCK).reach(position)
    return index


async def test_an_index_that_nobody_serves_is_built_anew_and_taken_at_the_next_start(
    tmp_path: Path, log: MemoryLog
) -> None:
    said: list[str] = []
    index = await indexed(tmp_path, log, KEYS)
    async with index.transaction() as rows:
        at = await index.checkpoint()
        await rows.move_checkpoint(expected=at, new=at)
        lines = await rows.load([key_id(3)])
        row = lines[key_id(3)].row
        assert row is not None
        await rows.save({key_id(3): Versioned(1, replace(row, organization_id="org_forged"))})
    index.close()
    operator = IndexRebuildable(tmp_path, node="local", size_mb=INDEX_SIZE_MB, log=log, clock=CLOCK)
    assert await rebuild(operator, agreed=False, say=said.append, clock=CLOCK, wait_seconds=0.1) == "differs"
    assert f"{KEYS - 1:,} lines are the same, 1 differ, 0 are only in" in said[-1]
    assert await rebuild(operator, agreed=True, say=said.append, clock=CLOCK, wait_seconds=0.1) == "offered"
    index = open_index(tmp_path, generation=INDEX_GENERATION, size_mb=INDEX_SIZE_MB)
    runner = ProjectionRunner(VerificationProjection(), index, log, clock=CLOCK)
    async with running(runner) as task:
        await until(lambda: index.generation == Generation(INDEX_GENERATION, 1), task)
        await until(lambda: runner.position == len(lives().entries), task)
        async with index.transaction() as rows:
            row = (await rows.load([key_id(3)]))[key_id(3)].row
    assert row is not None
    assert getattr(row, "organization_id", "") != "org_forged"
    index.close()
    assert IndexFiles(tmp_path).offered() is None


@pytest.mark.parametrize(
    ("serving", "built", "counts"),
    [
        ([], [], (0, 0, 0, 0)),
        ([("a", 1), ("b", 2)], [("a", 1), ("b", 2)], (2, 0, 0, 0)),
        ([("a", 1), ("b", 2), ("d", 4)], [("b", 3), ("c", 3)], (0, 1, 2, 1)),
        ([("b", 1)], [("a", 1), ("b", 1), ("c", 1)], (1, 0, 0, 2)),
    ],
)
async def test_what_is_alike_and_what_is_not_is_counted(
    serving: list[tuple[str, object]], built: list[tuple[str, object]], counts: tuple[int, int, int, int]
) -> None:
    async def lines(of: list[tuple[str, object]]) -> AsyncIterator[tuple[str, object]]:
        for line in of:
            yield line

    found = await compare(lines(serving), lines(built))
    assert (found.same, found.differing, found.only_serving, found.only_built) == counts
    assert found.none == (counts[1:] == (0, 0, 0))
