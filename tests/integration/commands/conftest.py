"""The command service over each ledger."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from shutil import copyfile

import pytest

from keyledger.contracts.ports import Clock
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Ledger
from keyledger.testing.memory_ledger import MemoryLedger, MemoryStore
from tests.integration.commands.world import SetClock, World, opened


@pytest.fixture(scope="session")
def empty_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated file without events, to be copied: migrating costs more than most of these tests."""
    import asyncio  # noqa: PLC0415 - the one place that needs a loop of its own

    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    asyncio.run(migrate(f"sqlite:///{path}"))
    return path


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@asynccontextmanager
async def closing(ledger: Ledger) -> AsyncIterator[Ledger]:
    try:
        yield ledger
    finally:
        await ledger.close()


async def memory(clock: Clock) -> Ledger:
    return MemoryLedger(MemoryStore(), clock=clock)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run on the ledgers that a module names in ``LEDGERS``; on memory alone where the ledger makes no difference."""
    if "ledger" in metafunc.fixturenames:
        metafunc.parametrize("ledger", getattr(metafunc.module, "LEDGERS", ["memory"]), indirect=True)


@pytest.fixture
async def ledger(
    request: pytest.FixtureRequest, empty_ledger: Path, tmp_path: Path, clock: SetClock
) -> AsyncIterator[Ledger]:
    if request.param == "memory":
        opening = await memory(clock)
    else:
        path = tmp_path / "ledger.db"
        copyfile(empty_ledger, path)
        opening = await open_ledger(f"sqlite:///{path}", clock=clock)
    async with closing(opening) as opened_ledger:
        yield opened_ledger


@pytest.fixture
async def postgres_ledger(postgres_database: str, clock: SetClock) -> AsyncIterator[Ledger]:
    await migrate(postgres_database)
    async with closing(await open_ledger(postgres_database, clock=clock)) as opened_ledger:
        yield opened_ledger


@pytest.fixture
async def world(ledger: Ledger, clock: SetClock, tmp_path: Path) -> World:
    return await opened(ledger, clock, tmp_path / "data")


@pytest.fixture
async def postgres_world(postgres_ledger: Ledger, clock: SetClock, tmp_path: Path) -> World:
    return await opened(postgres_ledger, clock, tmp_path / "data")


@pytest.fixture
async def postgres_twin(
    postgres_database: str,
    postgres_ledger: Ledger,  # noqa: ARG001 - it has migrated the database
    clock: SetClock,
) -> AsyncIterator[Ledger]:
    """A second process's ledger on the same database."""
    async with closing(await open_ledger(postgres_database, clock=clock)) as opened_ledger:
        yield opened_ledger
