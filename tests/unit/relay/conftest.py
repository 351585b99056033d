from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from keyledger.eventlog.port import EventLog
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Ledger
from keyledger.runtime.clock import SystemClock
from keyledger.testing.memory_log import MemoryLog
from tests.unit.relay.kit import made


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    url = f"sqlite:///{tmp_path}/ledger.db"
    await migrate(url)
    ledger = await open_ledger(url, clock=SystemClock())
    yield ledger
    await ledger.close()


@pytest.fixture
async def log() -> EventLog:
    return await made(MemoryLog())
