import subprocess
import sys
from pathlib import Path

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
