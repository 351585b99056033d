"""The two profiles a relay runs in, and the relay as a process that can be killed.

``python -m tests.integration.relay.profiles LEDGER_URL LOG_URL PREFIX BATCH_EVENTS`` is that process.
"""

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Ledger
from keyledger.runtime.clock import SystemClock
from tests.integration.relay.apart import LogApart
from tests.unit.relay.kit import made, relay_of

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Profile:
    ledger_url: str
    log_url: str
    prefix: str

    async def migrated(self) -> Self:
        await migrate(self.ledger_url)
        return self

    @contextlib.asynccontextmanager
    async def opened(self) -> AsyncIterator[tuple[Ledger, EventLog]]:
        """Give a ledger and a log with connections of their own."""
        ledger = await open_ledger(self.ledger_url, clock=SystemClock())
        try:
            log = LogApart(await open_log(self.log_url), self.prefix)
            try:
                yield ledger, await made(log)
            finally:
                await log.close()
        finally:
            await ledger.close()

    @contextlib.contextmanager
    def relay_process(self, *, batch_events: int) -> Iterator[subprocess.Popen[bytes]]:
        """Run a relay in a process of its own; it is killed at the end."""
        arguments = [self.ledger_url, self.log_url, self.prefix, str(batch_events)]
        command = [sys.executable, "-m", "tests.integration.relay.profiles", *arguments]
        with subprocess.Popen(command, cwd=ROOT) as process:
            try:
                yield process
            finally:
                process.kill()


async def _main(ledger_url: str, log_url: str, prefix: str, batch_events: str) -> None:
    async with Profile(ledger_url, log_url, prefix).opened() as (ledger, log):
        await relay_of(ledger, log, batch_events=int(batch_events)).run()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
