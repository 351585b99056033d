from pathlib import Path

import pytest

from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.port import EventLog
from keyledger.testing.eventlog_suite import Connect, EventLogSuite


class TestEmbeddedLog(EventLogSuite):
    @pytest.fixture
    def connect(self, tmp_path: Path) -> Connect:
        async def connect() -> EventLog:
            return await EmbeddedLog.open(tmp_path / "data" / "log.db")

        return connect
