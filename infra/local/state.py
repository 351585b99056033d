"""What `make cluster` started, remembered on disk so that `make cluster-down` stops that and nothing else."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from infra.local.processes import Process, open_private


class ClusterState:
    """The processes of one cluster in the order of their start, in one JSON file, which several threads may change."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def processes(self) -> list[Process]:
        """Return what was started and not yet stopped, whether or not it still runs."""
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return []
        return [Process(**{**row, "log": Path(row["log"])}) for row in rows]

    def add(self, process: Process) -> None:
        """Remember a process as soon as it exists: what is not written here is not stopped."""
        with exclusive(self._path.with_suffix(".lock")):
            self._write([*self.processes(), process])

    def remove(self, process: Process) -> None:
        """Forget a process that was stopped."""
        with exclusive(self._path.with_suffix(".lock")):
            self._write([known for known in self.processes() if known != process])

    def _write(self, processes: list[Process]) -> None:
        rows = [{**asdict(process), "log": str(process.log)} for process in processes]
        partial = self._path.with_suffix(".partial")
        with open_private(partial, "w") as file:
            json.dump(rows, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(self._path)


@contextlib.contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`; a second holder waits.

    The kernel lets go when the holder ends, however it ends: there is no stale lock.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
