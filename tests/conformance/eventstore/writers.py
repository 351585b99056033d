"""Writer processes as a test sees them."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Self

from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.verifying import verify_chain
from keyledger.runtime.clock import SystemClock

SCRIPT = Path(__file__).with_name("writing_process.py")


class Writer:
    """One process. ``answered``: the position that each append was told, by append_id."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.answered: dict[str, int] = {}
        self._process = process
        self._more = asyncio.Event()
        self._listening = asyncio.create_task(self._listen())

    @classmethod
    async def start(cls, url: str, name: str, *, appends: int, callers: int) -> Self:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(SCRIPT),
            url,
            name,
            str(appends),
            str(callers),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ,
        )
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return cls(process)

    def go(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(b"go\n")

    async def until_answered(self, number: int) -> None:
        while len(self.answered) < number and not self._listening.done():
            self._more.clear()
            await self._more.wait()

    async def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does; then take down what it had still said."""
        self._process.kill()
        await self._listening
        assert await self._process.wait() == -9

    def enough(self) -> None:
        """Let it hand in nothing more."""
        self._process.terminate()

    async def finish(self) -> None:
        """Return when it has ended by itself, with everything it said taken down."""
        await self._listening
        assert await self._process.wait() == 0

    async def _listen(self) -> None:
        """Always: a full pipe would stop it in the middle of a transaction."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            append_id, position = line.split()
            self.answered[append_id.decode()] = int(position)
            self._more.set()
        self._more.set()


async def written(url: str) -> list[tuple[str, str]]:
    """Return (append_id, stream) of every row in order, once the whole chain was verified."""
    ledger = await open_ledger(url, clock=SystemClock())
    try:
        head = await verify_chain(ledger)
        rows: list[tuple[str, str]] = []
        while page := await ledger.read(len(rows), limit=5_000):
            rows.extend((row.header.append_id, row.header.stream) for row in page)
    finally:
        await ledger.close()
    assert len(rows) == head.position
    return rows
