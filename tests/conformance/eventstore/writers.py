"""Writer processes as a test sees them."""

import asyncio
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.verifying import verify_chain
from keyledger.runtime.clock import SystemClock

SCRIPT = Path(__file__).with_name("writing_process.py")


@dataclass
class Writer:
    """One process. ``answered``: the position that each append was told, by append_id."""

    process: asyncio.subprocess.Process
    answered: dict[str, int] = field(default_factory=dict)

    @classmethod
    async def start(cls, url: str, name: str, *, appends: int, callers: int) -> "Writer":
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
        writer = cls(process)
        assert process.stdout is not None
        assert await process.stdout.readline() == b"ready\n"
        return writer

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"go\n")

    async def listen(self, *, until: int | None = None) -> None:
        """Take down its answers: until there are so many, or to its end."""
        assert self.process.stdout is not None
        while until is None or len(self.answered) < until:
            line = await self.process.stdout.readline()
            if not line:
                break
            append_id, position = line.split()
            self.answered[append_id.decode()] = int(position)

    async def kill(self) -> None:
        """SIGKILL, in the middle of whatever it does; then take down what it had still said."""
        self.process.kill()
        await self.listen()
        assert await self.process.wait() == -9

    async def finish(self) -> None:
        await self.listen()
        assert await self.process.wait() == 0


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
