"""HTTP/1.1 as our processes speak it: uvicorn's, with an end to a request's head, and one write for an answer."""

import asyncio
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES: Final = 64 * 1024
"""How long a request line and headers together may become before they are over; nginx passes on 32 KiB at most."""

MAX_HELD_BYTES: Final = 64 * 1024
"""What is written beyond it goes to the socket at once, so that a long answer is held back by a slow reader."""


class HeadTooLong(Exception):
    """A head that is longer than ``MAX_HEAD_BYTES``; the parser makes a 400 of it."""


class JoinedWrites(asyncio.Transport):
    """A connection whose writes of one turn of the loop are one write to the socket, at the turn's end.

    uvicorn writes an answer's head and body apart, and each answer when it is made. A write costs a call of the kernel,
    and wakes a client that has nothing else to read; in one process on one core it was a third of a verdict's time.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._held: list[bytes] = []
        self._held_bytes = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Write what is given by the end of this turn."""
        if not self._held:
            self._loop.call_soon(self.flush)
        self._held.append(bytes(data))
        self._held_bytes += len(data)
        if self._held_bytes > MAX_HELD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write what was given now: before the connection ends."""
        held, self._held, self._held_bytes = self._held, [], 0
        if held and not self._transport.is_closing():
            self._transport.write(b"".join(held))

    def close(self) -> None:
        """Close the connection once everything is written."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Say whether the connection is closed, or will be."""
        return self._transport.is_closing()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Return what the connection knows of itself."""
        return self._transport.get_extra_info(name, default)

    def pause_reading(self) -> None:
        """Read nothing for a while."""
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read again."""
        self._transport.resume_reading()


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP over ``JoinedWrites``, with an end to what a stranger may send before any of our code is asked.

    uvicorn's parser collects a head without limit, and one header in time that grows by the square: 200 MB of it stood
    still for a minute. What follows a body's chunks is read the same way. A head is measured only where so much came
    that it may be too long.
    """

    _progressed = False
    _may_be_too_long = False
    _unfinished_bytes = 0
    transport: JoinedWrites

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn's
        super().connection_made(JoinedWrites(transport, self.loop))

    def data_received(self, data: bytes) -> None:
        self._progressed = False
        self._may_be_too_long = self._unfinished_bytes + len(data) > MAX_HEAD_BYTES
        super().data_received(data)
        if self._progressed:
            self._unfinished_bytes = 0
            return
        self._unfinished_bytes += len(data)  # all of the data went into one head or trailer, which is not over yet
        if self._unfinished_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self.send_400_response("The request's head is too long.")

    def eof_received(self) -> None:
        self.transport.flush()  # the loop closes the connection next, also of a client that waits for its answer

    def on_message_begin(self) -> None:
        self._progressed = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self._may_be_too_long and self._head_bytes() > MAX_HEAD_BYTES:
            raise HeadTooLong
        self._progressed = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progressed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progressed = True
        super().on_message_complete()

    def _head_bytes(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + len(": \r\n") for name, value in self.headers)
