"""Appends a second where each sync to disk takes 2 ms more: what group commit is for.

The delay is a small library that is preloaded into SQLite's process and into Postgres (``slow_sync.c``), both of which
sync their logs by ``fdatasync`` here.
"""

import asyncio
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import msgspec

from tests.benchmarks import appends
from tests.benchmarks.report import Row

DELAY_SECONDS = 0.002
_SOURCE = Path(__file__).with_name("slow_sync.c")


def measure(folder: Path) -> list[Row]:
    """Return the rows for both ledgers, measured by a process under the preloaded library."""
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("there is no C compiler: run `infra/install-debian.sh bench` as root")
    library = folder / "slow_sync.so"
    subprocess.run([compiler, "-O2", "-shared", "-fPIC", "-o", library, _SOURCE], check=True)
    command = [sys.executable, "-m", "tests.benchmarks.slowed", str(folder)]
    done = subprocess.run(command, env={**os.environ, "LD_PRELOAD": str(library)}, stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=list[Row])


async def _measured(folder: Path) -> list[Row]:
    rows = await appends.measure(folder, callers=(32,))
    return [replace(row, what=f"{row.what}, each sync slowed by 2 ms") for row in rows]


def _sync_seconds(folder: Path) -> float:
    with (folder / "probe").open("wb") as probe:
        began = time.perf_counter()
        os.fdatasync(probe.fileno())
        return time.perf_counter() - began


if __name__ == "__main__":
    place = Path(sys.argv[1])
    if _sync_seconds(place) < DELAY_SECONDS:
        raise SystemExit("the library is not in force: a sync takes less than its delay")
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_measured(place))))
