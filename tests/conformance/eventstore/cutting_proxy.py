"""A TCP proxy in front of Postgres that cuts a connection at a chosen message."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from typing import Self
from urllib.parse import urlsplit

COMMIT = b"COMMIT\0"
"""As the text of a simple query (Postgres documentation, 55.7, message "Query")."""


class Wire:
    """One proxied connection: both ends, and the means to end it."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.answers_dropped = False

    async def forward(self, data: bytes) -> None:
        self.server.write(data)
        await self.server.drain()

    def cut(self) -> None:
        """End both connections at once, unanswered."""
        self.client.transport.abort()
        self.server.transport.abort()

    def cut_client(self) -> None:
        """End the client's connection only; the server does not know yet."""
        self.client.transport.abort()


Fault = Callable[[Wire, bytes], Awaitable[None]]


class CuttingProxy:
    """Forwards everything. When a client's message contains ``trigger``, ``faults`` are used up one by one instead."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._server = (parts.hostname or "127.0.0.1", parts.port or 5432)
        self._parts = parts
        self._listener: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._wires: list[Wire] = []
        self.trigger = COMMIT
        self.faults: Iterator[Fault] = iter(())
        self.refuses = False
        self.connections = 0

    async def __aenter__(self) -> Self:
        self._listener = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._listener is not None
        self._listener.close()
        for wire in self._wires:
            wire.cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._listener.wait_closed()

    @property
    def url(self) -> str:
        """The database's URL, through the proxy."""
        assert self._listener is not None
        port = self._listener.sockets[0].getsockname()[1]
        user = self._parts.netloc.rpartition("@")[0]
        return self._parts._replace(netloc=f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}").geturl()

    async def _accept(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        if self.refuses:
            client.transport.abort()
            return
        self.connections += 1
        answers, server = await asyncio.open_connection(*self._server)
        wire = Wire(client, server)
        self._wires.append(wire)
        for pump in (self._requests(wire, reader), self._answers(wire, answers)):
            task = asyncio.create_task(pump)
            self._tasks.add(task)

    async def _requests(self, wire: Wire, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):  # either end may be gone: that is what this proxy is for
            while data := await reader.read(65_536):
                fault = next(self.faults, None) if self.trigger in data else None
                if fault is None:
                    await wire.forward(data)
                else:
                    await fault(wire, data)

    async def _answers(self, wire: Wire, answers: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            while data := await answers.read(65_536):
                if wire.answers_dropped:
                    wire.cut()
                else:
                    wire.client.write(data)
                    await wire.client.drain()
            wire.client.transport.abort()


async def drop_the_answer(wire: Wire, data: bytes) -> None:
    """It is carried out, and the client never learns."""
    wire.answers_dropped = True
    await wire.forward(data)


async def drop_the_request(wire: Wire, data: bytes) -> None:  # noqa: ARG001 - the data is what is lost
    """It never reaches the server."""
    wire.cut()
