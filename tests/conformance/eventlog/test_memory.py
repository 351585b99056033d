import pytest

from keyledger.eventlog.port import EventLog
from keyledger.testing.eventlog_suite import Connect, EventLogSuite
from keyledger.testing.memory_log import MemoryLog


class TestMemoryLog(EventLogSuite):
    @pytest.fixture
    async def connect(self) -> Connect:
        log = MemoryLog()

        async def connect() -> EventLog:
            return log

        return connect
