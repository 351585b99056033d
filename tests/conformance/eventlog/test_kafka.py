import pytest

from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.port import EventLog
from keyledger.testing.eventlog_suite import Connect, EventLogSuite

pytestmark = pytest.mark.kafka


class TestKafkaLog(EventLogSuite):
    @pytest.fixture
    def connect(self, kafka_bootstrap: str) -> Connect:
        async def connect() -> EventLog:
            return KafkaLog(kafka_bootstrap)

        return connect
