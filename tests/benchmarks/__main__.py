"""``python -m tests.benchmarks [SECTION ...]``: measure, and print a table for each section."""

import asyncio
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import appends, creates, detecting, rebuilding, relaying, revocations, slowed, verifying
from tests.benchmarks.report import Row, table

SECTIONS: dict[str, Callable[[Path], list[Row]]] = {
    "appends": lambda folder: asyncio.run(appends.measure(folder)),
    "slowed": slowed.measure,
    "creates": creates.measure,
    "verifying": verifying.measure,
    "relaying": relaying.measure,
    "rebuilding": rebuilding.measure,
    "revocations": revocations.measure,
    "detecting": detecting.measure,
}


def main(asked: list[str]) -> None:
    """Measure the asked sections (all by default), telling which one runs."""
    if unknown := [name for name in asked if name not in SECTIONS]:
        sys.exit(f"there is no section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    for name in asked or SECTIONS:
        sys.stderr.write(f"measuring {name} ...\n")
        with tempfile.TemporaryDirectory() as folder:
            Path(folder).chmod(0o755)  # Postgres and nginx run as another user
            sys.stdout.write(table(SECTIONS[name](Path(folder))) + "\n\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
