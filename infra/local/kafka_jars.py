"""The broker's jars: fetched once from Maven's central repository for each state of `infra/kafka/pom.xml`."""

import fcntl
import hashlib
import shutil
from pathlib import Path

from infra.local.processes import run
from infra.local.templates import INFRA, PROJECT

POM = INFRA / "kafka" / "pom.xml"
CACHE = PROJECT / ".build" / "kafka"


def kafka_jars() -> Path:
    """Return the folder of the jars the pom pins, fetching them if they are not there.

    Raises:
        ServerFailed: Maven is missing or could not fetch them.
    """
    jars = CACHE / hashlib.sha256(POM.read_bytes()).hexdigest()[:16]
    if jars.is_dir():
        return jars
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not jars.is_dir():  # another test worker may have fetched them while we waited
            _fetch(jars)
    return jars


def _fetch(jars: Path) -> None:
    partial = jars.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={partial}"]
    run(
        "fetching Kafka's jars",
        ["mvn", "--quiet", "--batch-mode", "--strict-checksums", "--file", str(POM), *goal],
        log=CACHE / "maven.log",
        deadline_seconds=600,
    )
    # Renamed when complete: a folder with this name always holds all of them.
    partial.rename(jars)
