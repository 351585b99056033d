"""A projector that is killed again and again while events flow in."""

import asyncio
import random
import sys
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from keyledger.contracts.envelope import Entry
from keyledger.contracts.topics import FOREVER, Topic
from keyledger.domain.events import Event
from keyledger.eventlog.opening import open_log
from tests.integration.directory.projector_process import project, rows_of, store_at
from tests.unit.projections.written import created, key_id, records, renamed, revoked, rotated, written

EVENTS = 8_000
KEYS = 2_000
KILLS = 10
DEADLINE_SECONDS = 120.0
MODULE = "tests.integration.directory.projector_process"


def lives(seed: int) -> list[Event]:
    """Return the events of many keys, each in its order, all mixed."""
    random_ = random.Random(seed)
    todo: dict[int, list[Event]] = {
        number: [revoked(number), renamed(number, f"renamed {number}"), rotated(number), created(number)]
        for number in range(KEYS)
    }
    order = [number for number in todo for _ in range(EVENTS // KEYS)]
    random_.shuffle(order)
    return [todo[number].pop() for number in order]


@asynccontextmanager
async def projector(*arguments: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a projector, and kill it in the end wherever it is then."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", MODULE, *arguments)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def prepare(database_url: str) -> None:
    """Make the file alone: of two who open a new SQLite file at once, one is told that it is locked."""
    store = store_at(database_url)
    await store.prepare()
    await store.close()


async def until_position(
    database_url: str,
    position: int,
    process: asyncio.subprocess.Process | None = None,
    flowing: asyncio.Task[None] | None = None,
) -> None:
    store = store_at(database_url)
    try:
        await store.prepare()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await store.checkpoint()).position < position:
                assert process is None or process.returncode is None, "the projector ended by itself"
                if flowing is not None and flowing.done():
                    flowing.result()
                await asyncio.sleep(0.001)
    finally:
        await store.close()


class KilledProjector:
    @pytest.fixture
    def log_url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    def databases(self) -> tuple[str, str]:
        raise NotImplementedError

    async def test_every_key_is_there_once_as_if_it_had_never_been_killed(
        self, log_url: str, databases: tuple[str, str]
    ) -> None:
        killed, clean = databases
        for new in databases:
            await prepare(new)
        topic = Topic(f"test.ledger.{uuid.uuid4().hex}", 1, FOREVER, "this test's own")
        entries = written(*lives(seed=3)).entries
        log = await open_log(log_url)
        await log.ensure_topics([topic])
        flowing = asyncio.create_task(self._flow(log, topic.name, entries))
        targets = sorted(random.Random(4).sample(range(1, EVENTS), KILLS))
        for target in [*targets, EVENTS]:
            async with projector(log_url, topic.name, killed) as process:
                await until_position(killed, target, process, flowing)
        await flowing
        rebuild = asyncio.create_task(project(log_url, topic.name, clean, batch=1_000))
        rebuilt = asyncio.create_task(until_position(clean, EVENTS))
        await asyncio.wait({rebuild, rebuilt}, return_when=asyncio.FIRST_COMPLETED)
        if rebuild.done():
            rebuild.result()
        rebuild.cancel()
        await asyncio.wait({rebuild})
        await rebuilt
        rows = await rows_of(killed)
        assert [row[:2] for row in rows[:-1]] == [(key_id(number), EVENTS // KEYS) for number in range(KEYS)]
        assert rows == await rows_of(clean)
        await log.close()

    async def _flow(self, log: Any, topic: str, entries: Sequence[Entry]) -> None:
        """Send everything in small batches, some of it twice, as a relay does that was itself killed."""
        producer = await log.producer()
        for start in range(0, len(entries), 40):
            resent = 10 if start % 400 == 0 else 0
            await producer.send(topic, 0, records(entries[max(0, start - resent) : start + 40]))
        await producer.close()


class TestOnEmbeddedLogAndSqlite(KilledProjector):
    @pytest.fixture
    def log_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'log.db'}"

    @pytest.fixture
    def databases(self, tmp_path: Path) -> tuple[str, str]:
        return f"sqlite:///{tmp_path / 'killed.db'}", f"sqlite:///{tmp_path / 'clean.db'}"


@pytest.mark.kafka
@pytest.mark.postgres
class TestOnKafkaAndPostgres(KilledProjector):
    @pytest.fixture
    def log_url(self, kafka_bootstrap: str) -> str:
        return f"kafka://{kafka_bootstrap}"

    @pytest.fixture
    def databases(self, postgres_database: str, tmp_path: Path) -> tuple[str, str]:
        return postgres_database, f"sqlite:///{tmp_path / 'clean.db'}"
