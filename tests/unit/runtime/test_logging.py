import logging
import subprocess
import sys
from pathlib import Path

from keyledger.runtime.logging import RepeatedKafkaLines

LOGGING = """
import resource, sys
import structlog
from keyledger.runtime.logging import configure_logging
configure_logging("info", "json")
log = structlog.get_logger()
log.info("before")
everything = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, everything[1]))
for number in range(1000):
    log.info("no room", number=number)
resource.setrlimit(resource.RLIMIT_FSIZE, everything)
log.info("room again")
log.info("after")
"""


def test_a_log_that_cannot_be_written_ends_nobody_and_says_so_when_it_can(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        done = subprocess.run([sys.executable, "-c", LOGGING], stderr=file, check=False)
    said = log.read_text(encoding="utf-8")
    assert done.returncode == 0
    assert "before" in said
    assert said.count("log lines may be missing here") == 1
    assert '"after"' in said.splitlines()[-1]


def test_the_kafka_client_says_the_same_thing_twice_a_minute_and_everybody_else_whenever_they_like() -> None:
    seldom = RepeatedKafkaLines(every_seconds=30)

    def passes(name: str, line: int, at: float) -> bool:
        record = logging.LogRecord(name, logging.ERROR, __file__, line, "Unable connect to node %s", (at,), None)
        record.created = at
        return seldom.filter(record)

    passed = [at for at in (0.0, 0.2, 0.4, 29.9, 30.0, 30.2) if passes("aiokafka", 7, at)]
    assert passed == [0.0, 30.0]
    assert passes("aiokafka", 8, 0.2)
    assert all(passes("keyledger", 7, at) for at in (0.0, 0.2))
