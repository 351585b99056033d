"""A process that appends as fast as it can, and says on its standard output what was answered.

``python writing_process.py URL NAME APPENDS CALLERS``: says "ready", waits for a line on its standard input, then hands
in up to APPENDS appends by CALLERS callers at a time, each on a stream of its own, until it gets a SIGTERM. After each
answer it says "append_id position"; what it said stays in the pipe, whatever becomes of the process.
"""

import asyncio
import os
import signal
import sys
from itertools import count

from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Appended
from keyledger.runtime.clock import SystemClock
from keyledger.testing.ledger_examples import an_append


def say(line: str) -> None:
    os.write(1, f"{line}\n".encode())


async def write(url: str, name: str, appends: int, callers: int) -> None:
    ledger = await open_ledger(url, clock=SystemClock())
    numbers = iter(range(appends))
    enough = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, enough.set)

    async def call(stream: str) -> None:
        for version, number in zip(count(), numbers, strict=False):
            if enough.is_set():
                break
            answer = await ledger.append(an_append(stream, version, append_id=f"{name}-{number}"))
            assert isinstance(answer, Appended)
            say(f"{name}-{number} {answer.position}")

    say("ready")
    await asyncio.to_thread(sys.stdin.readline)
    await asyncio.gather(*(call(f"{name}/{caller}") for caller in range(callers)))
    await ledger.close()


if __name__ == "__main__":
    asyncio.run(write(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
