"""A TCP proxy that behaves like a bad network, before a broker or a database.

Both directions can be slow, narrow or silent, each on its own; connections can be reset, at once or at the bytes that a
test names. A server that tells its clients where to connect (Kafka's advertised listeners) must be told the proxy's
port: the proxy has its port from the start, and looks for the server only when somebody connects.
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Iterator
from typing import Final, Self

from infra.local.ports import LOOPBACK, free_port

CHUNK_BYTES: Final = 65_536
HELD_CHUNKS: Final = 16
"""What one direction holds while it is slow or silent; then its sender is no longer read, as on a real network."""
SLICES_PER_SECOND: Final = 50
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)

Held = asyncio.Queue[tuple[float, asyncio.Event, bytes]]
"""When it was sent, what it waits for, and the bytes."""


class Direction:
    """What happens to the bytes that go one way, on all connections. May be changed at any time."""

    def __init__(self) -> None:
        self.latency_seconds = 0.0
        self.bytes_per_second: float | None = None
        self.passed_bytes = self.delayed_bytes = 0
        self.cuts_left = 0
        self._pattern = b""
        self._deliver = False
        self._open = asyncio.Event()
        self._open.set()
        self._way = self._open

    def hold(self) -> None:
        """Let nothing through. What was sent meanwhile arrives after ``release``, as TCP's repetitions would."""
        self._open.clear()

    def release(self) -> None:
        """Let everything through again, in order."""
        self._open.set()

    @contextlib.contextmanager
    def delaying(self) -> Iterator[asyncio.Event]:
        """What is taken inside arrives once the event is set, and may be overtaken on other connections."""
        self._way, self.delayed_bytes = asyncio.Event(), 0
        yield self._way
        self._way = self._open

    async def receive(self, source: asyncio.StreamReader, held: Held) -> None:
        """Take what is sent, also while what came before is still under way. Empty at the end."""
        data = b"any"
        while data:
            data = await source.read(CHUNK_BYTES)
            if self._way is not self._open:
                self.delayed_bytes += len(data)
            await held.put((asyncio.get_running_loop().time(), self._way, data))

    def cut_at(self, pattern: bytes, *, times: int = 1, deliver: bool = False) -> None:
        """Reset the next ``times`` connections that carry ``pattern``; ``cuts_left`` says how many are to come.

        ``deliver``: the bytes still reach the other end, so that only its answer is lost.
        """
        self._pattern, self.cuts_left, self._deliver = pattern, times, deliver

    async def deliver(self, held: Held, sink: asyncio.StreamWriter) -> None:
        """Bring what was sent to ``sink``, in order, until its end. Raises ConnectionResetError at an ordered cut."""
        before = b""
        while True:
            sent_at, way, data = await held.get()
            await asyncio.sleep(sent_at + self.latency_seconds - asyncio.get_running_loop().time())
            await way.wait()
            await self._open.wait()
            if not data:
                sink.write_eof()
                return
            cut = self._is_cut(before + data)
            if not cut or self._deliver:
                await self._write(sink, data)
            if cut:
                raise ConnectionResetError("as ordered")
            before = data[-len(self._pattern) :]  # a pattern may begin in one piece and end in the next

    def _is_cut(self, data: bytes) -> bool:
        if not self.cuts_left or self._pattern not in data:
            return False
        self.cuts_left -= 1
        return True

    async def _write(self, sink: asyncio.StreamWriter, data: bytes) -> None:
        for piece in self._slices(data):
            sink.write(piece)
            await sink.drain()
            self.passed_bytes += len(piece)
            if self.bytes_per_second is not None:
                await asyncio.sleep(len(piece) / self.bytes_per_second)

    def _slices(self, data: bytes) -> Iterator[bytes]:
        rate = self.bytes_per_second
        size = len(data) if rate is None else max(1, round(rate / SLICES_PER_SECOND))
        return (data[start : start + size] for start in range(0, len(data), size))


class Proxy:
    """Passes everything on until told otherwise. An async context; ``port`` is known before it is entered."""

    def __init__(self, server_port: int, *, host: str = LOOPBACK) -> None:
        """Listen at ``host`` for a server that listens on the loopback address."""
        self.port = free_port()
        self._server_port, self._host = server_port, host
        self.requests, self.answers = Direction(), Direction()
        self.refuses = False
        """New connections are reset at once; those that are there go on."""
        self._connections: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, self._host, self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        self.reset()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._listener.wait_closed()

    def slow(self, *, latency_seconds: float = 0.0, bytes_per_second: float | None = None) -> None:
        """Make both directions late and narrow. The latency is one way: an answer comes after twice that."""
        for direction in (self.requests, self.answers):
            direction.latency_seconds, direction.bytes_per_second = latency_seconds, bytes_per_second

    def black_hole(self) -> None:
        """Swallow everything both ways without an error, as a cable that was pulled."""
        self.requests.hold()
        self.answers.hold()

    def reset(self) -> None:
        """End every connection there is with a TCP reset: what is under way is lost."""
        for connection in self._connections:
            connection.cancel()

    def heal(self) -> None:
        """Be a good network again; what was held arrives now."""
        self.refuses = False
        self.slow()
        for direction in (self.requests, self.answers):
            direction.cuts_left = 0
            direction.release()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        connection = asyncio.current_task()
        assert connection is not None
        self._connections.add(connection)
        try:
            if not self.refuses:
                await self._connect(reader, client)
        except asyncio.CancelledError:
            pass  # reset: asyncio's server would print it as a failure
        finally:
            _reset(client)
            self._connections.discard(connection)

    async def _connect(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        try:
            answers, server = await asyncio.open_connection(LOOPBACK, self._server_port)
        except OSError:
            return  # no server: the client sees its connection end
        try:
            # Either end may go at any time: that is what this proxy is for.
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as both:
                    for direction, source, sink in ((self.requests, reader, server), (self.answers, answers, client)):
                        held: Held = asyncio.Queue(HELD_CHUNKS)
                        both.create_task(direction.receive(source, held))
                        both.create_task(direction.deliver(held, sink))
        finally:
            _reset(server)


def _reset(side: asyncio.StreamWriter) -> None:
    end = side.get_extra_info("socket")
    if end.fileno() >= 0:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    side.transport.abort()
