"""The broker's jars: fetched once from Maven's central repository for each state of `infra/kafka/pom.xml`."""

from pathlib import Path

from infra.local.fetched import fetched
from infra.local.processes import run
from infra.local.templates import INFRA, PROJECT

POM = INFRA / "kafka" / "pom.xml"
CACHE = PROJECT / ".build" / "kafka"


def kafka_jars() -> Path:
    """Return the folder of the jars the pom pins, fetching them if they are not there.

    Raises:
        ServerFailed: Maven is missing or could not fetch them.
    """
    return fetched(CACHE, [POM], _fetch)


def _fetch(folder: Path) -> None:
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={folder}"]
    run(
        "fetching Kafka's jars",
        ["mvn", "--quiet", "--batch-mode", "--strict-checksums", "--file", str(POM), *goal],
        log=CACHE / "maven.log",
        deadline_seconds=600,
    )
