"""A process that appends until it is killed, and says on standard output what was acknowledged.

`python embedded_writer.py PATH NAME`: each line is `OFFSET NUMBER`, the last record of a batch of three.
"""

import asyncio
import itertools
import sys
from pathlib import Path

from keyledger.contracts.topics import FOREVER, Topic
from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.port import NewRecord

TOPIC = Topic("crash", 1, FOREVER, "")
BATCH = 3
CALLERS = 4


async def main(path: Path, name: str) -> None:
    log = await EmbeddedLog.open(path)
    await log.ensure_topics([TOPIC])
    producer = await log.producer()
    numbers = itertools.count(0, BATCH)

    async def append() -> None:
        while True:
            first = next(numbers)
            batch = [NewRecord(None, f"{name}.{number}".encode()) for number in range(first, first + BATCH)]
            offset = await producer.send(TOPIC.name, 0, batch)
            print(offset, first + BATCH - 1, flush=True)  # noqa: T201 - its parent reads it

    await asyncio.gather(*(append() for _ in range(CALLERS)))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2]))
