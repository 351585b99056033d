"""``python -m tests.benchmarks.paced_writes ORIGIN PER_SECOND``: create keys at a steady pace until told to end.

The root key comes as the first line of standard input, the word to end as the second. It prints how many keys it made
a second.
"""

import asyncio
import itertools
import json
import sys
import time
from urllib.parse import urlsplit

from tests.benchmarks.load import content_length

CONNECTIONS = 16


async def write(origin: str, per_second: float, root: str) -> float:
    """Create keys over a few connections, each at its moment or at once when late; return how many a second."""
    address = urlsplit(origin)
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.readline))
    began = time.perf_counter()
    numbers = itertools.count()
    made = 0

    async def one_connection() -> None:
        nonlocal made
        reader, writer = await asyncio.open_connection(address.hostname, address.port)
        while not ended.done():
            number = next(numbers)
            await asyncio.sleep(max(0.0, began + number / per_second - time.perf_counter()))
            writer.write(_creation(f"{address.hostname}:{address.port}", root, number))
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 201"), head.decode()
            await reader.readexactly(content_length(head))
            made += 1
        writer.close()

    await asyncio.gather(*(one_connection() for _ in range(CONNECTIONS)))
    return made / (time.perf_counter() - began)


def _creation(host: str, root: str, number: int) -> bytes:
    body = json.dumps({"name": f"load {number}"})
    head = f"POST /v1/api-keys HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {root}\r\n"
    return f"{head}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


if __name__ == "__main__":
    first_line = sys.stdin.readline().strip()
    sys.stdout.write(f"{asyncio.run(write(sys.argv[1], float(sys.argv[2]), first_line)):.0f}\n")
