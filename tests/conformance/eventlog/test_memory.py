import pytest

from keyledger.eventlog.port import EventLog
from keyledger.testing.eventlog_suite import Connect, EventLogSuite, Forget
from keyledger.testing.memory_log import MemoryLog


class TestMemoryLog(EventLogSuite):
    @pytest.fixture
    async def connect(self) -> Connect:
        log = MemoryLog()

        async def connect() -> EventLog:
            return log

        return connect

    @pytest.fixture
    def forget(self) -> Forget:
        async def forget(log: EventLog, topic: str, partition: int) -> None:
            assert isinstance(log, MemoryLog)
            log.forget(topic, partition)

        return forget
