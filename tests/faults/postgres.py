"""A Postgres of a run's own, that is killed and comes back."""

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from infra.local import PostgresServer, start_postgres
from infra.local.ports import free_port
from infra.local.processes import stat_fields
from tests.faults.waiting import started, until

START_ATTEMPTS = 5


class OwnPostgres:
    """One server with its data in ``folder``, at the same port over all its lives."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self._server: PostgresServer | None = None

    @property
    def url(self) -> str:
        """Where it answers, whenever it does."""
        return self._running.url

    async def start(self) -> None:
        """Begin a life; what the last one left is recovered."""
        # A killed server's children notice its end one by one, and until then its memory is in use.
        start = partial(start_postgres, self._folder, self._port, trust=True)
        self._server = await started(start, attempts=START_ATTEMPTS)

    async def kill(self) -> None:
        """SIGKILL to the whole server at once, as a machine that goes down does but for the files' last writes."""
        server = self._running
        os.kill(server.pid, signal.SIGSTOP)  # else it may start another process between our look and its end
        children = _children(server.pid)
        os.kill(server.pid, signal.SIGKILL)
        for child in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        await until(lambda: not server.process.is_running(), "the killed server has ended")
        server.process.is_running()  # collects it, whenever it ended: a zombie keeps the data folder locked

    def crash(self, pid: int) -> None:
        """SIGKILL to one of its processes: it ends all the others, and recovers by itself."""
        assert pid in _children(self._running.pid), "only what this server started"
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

    async def stop(self) -> None:
        """End it for good."""
        if self._server is not None:
            await asyncio.to_thread(self._server.process.stop, grace_seconds=5)

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._running.process.is_running()

    @property
    def children(self) -> list[int]:
        """Its processes but the first."""
        return _children(self._running.pid)

    @property
    def _running(self) -> PostgresServer:
        assert self._server is not None, "it was not started"
        return self._server


def _children(pid: int) -> list[int]:
    """Return the processes whose parent this one is."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int(stat_fields(int(entry.name))[1]) == pid:
                    found.append(int(entry.name))
    return found


@asynccontextmanager
async def own_postgres(folder: Path) -> AsyncIterator[OwnPostgres]:
    """Give a running server, and end it afterwards."""
    server = OwnPostgres(folder)
    await server.start()
    try:
        yield server
    finally:
        await server.stop()
