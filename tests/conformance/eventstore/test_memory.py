import pytest

from keyledger.contracts.ports import Clock
from keyledger.eventstore.port import Ledger
from keyledger.testing.ledger_suite import LedgerSuite, Opener
from keyledger.testing.memory_ledger import MemoryLedger, MemoryStore


class TestMemoryLedger(LedgerSuite):
    @pytest.fixture
    def opener(self) -> Opener:
        store = MemoryStore()

        async def open_memory(clock: Clock) -> Ledger:
            return MemoryLedger(store, clock=clock)

        return open_memory
