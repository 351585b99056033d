from collections.abc import AsyncIterator

import pytest

from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from keyledger.runtime.clock import SystemClock
from keyledger.testing.memory_ledger import MemoryLedger, MemoryStore
from keyledger.testing.memory_log import MemoryLog
from tests.unit.relay.kit import made


@pytest.fixture
async def ledger() -> AsyncIterator[Ledger]:
    ledger = MemoryLedger(MemoryStore("a" * 32), clock=SystemClock())
    yield ledger
    await ledger.close()


@pytest.fixture
async def other_ledger() -> AsyncIterator[Ledger]:
    ledger = MemoryLedger(MemoryStore("b" * 32), clock=SystemClock())
    yield ledger
    await ledger.close()


@pytest.fixture
async def log() -> EventLog:
    return await made(MemoryLog())
