"""HTTP as our processes speak it: how long a head may become, and what reaches the socket when."""

import asyncio
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from keyledger.runtime.http_protocol import MAX_HEAD_BYTES, MAX_HELD_BYTES, HttpProtocol

GET = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"
PART_BYTES = 8 * 1024


class Connection(asyncio.Transport):
    """A connection without a socket: keeps what is written, and can be full."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closing = False
        self.reader: asyncio.Protocol | None = None

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        if self.reader is not None:
            self.reader.pause_writing()

    def close(self) -> None:
        self.closing = True

    def is_closing(self) -> bool:
        return self.closing

    def get_extra_info(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - a socket would know
        return default

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


async def greet(_: Any, __: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def connected(app: Any) -> tuple[HttpProtocol, Connection]:
    """Return a protocol that serves the application, and its connection."""
    connection, protocol = Connection(), serving(app)
    protocol.connection_made(connection)
    return protocol, connection


def serving(app: Any) -> HttpProtocol:
    """Return a protocol that serves the application, without a connection."""
    config = uvicorn.Config(app, lifespan="off", log_config=None, server_header=False, date_header=False)
    return HttpProtocol(config, server_state=ServerState(), app_state={})


async def settle(protocol: HttpProtocol) -> None:
    """Let the requests that were received be answered, and what was written in that turn reach the connection."""
    while protocol.tasks:
        await asyncio.wait(set(protocol.tasks))
    await asyncio.sleep(0)


async def test_an_answer_s_head_and_body_are_one_write() -> None:
    protocol, connection = connected(greet)
    protocol.data_received(GET)
    await settle(protocol)
    assert connection.written == [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"]


async def test_each_of_many_requests_at_once_is_answered_in_their_order() -> None:
    protocol, connection = connected(greet)
    protocol.data_received(GET * 3)
    await settle(protocol)
    assert b"".join(connection.written).count(b"\r\n\r\nhello") == 3


async def test_what_was_written_before_the_end_is_sent() -> None:
    protocol, connection = connected(greet)
    protocol.data_received(GET.replace(b"Host", b"Connection: close\r\nHost"))
    await settle(protocol)
    assert connection.closing
    assert b"".join(connection.written).endswith(b"\r\n\r\nhello")


async def test_who_says_that_it_has_sent_everything_is_answered_all_the_same() -> None:
    server = await asyncio.get_running_loop().create_server(lambda: serving(greet), "127.0.0.1", 0)
    async with server, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(GET)
        writer.write_eof()
        assert (await reader.read()).endswith(b"\r\n\r\nhello")
        writer.close()


async def test_nothing_is_written_to_a_connection_that_has_ended() -> None:
    protocol, connection = connected(greet)
    protocol.data_received(GET)

    async def end() -> None:
        connection.closing = True

    await asyncio.gather(end(), settle(protocol))
    assert connection.written == []


async def test_a_long_answer_waits_for_a_slow_reader() -> None:
    sent = 0

    async def flood(_: Any, __: Any, send: Any) -> None:
        nonlocal sent
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while sent < 100:
            sent += 1
            await send({"type": "http.response.body", "body": bytes(PART_BYTES), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    protocol, connection = connected(flood)
    connection.reader = protocol
    protocol.data_received(GET)
    for _ in range(10):
        await asyncio.sleep(0)
    assert 0 < sum(map(len, connection.written)) < 2 * MAX_HELD_BYTES
    assert sent < 2 * MAX_HELD_BYTES // PART_BYTES
    connection.reader = None
    protocol.resume_writing()
    await settle(protocol)
    assert sent == 100


CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("begin", "part"),
    [
        (b"GET /", b"x"),
        (b"GET / HTTP/1.1\r\nX-Long: ", b"x"),
        (CHUNKED + b"1\r\nx\r\n0\r\nX-Long: ", b"x"),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
        (CHUNKED + b"1;", b"x"),
    ],
    ids=["request line", "header", "trailer", "many trailers", "chunk extension"],
)
async def test_what_describes_a_request_without_end_is_refused_soon(begin: bytes, part: bytes) -> None:
    protocol, connection = connected(greet)
    protocol.data_received(begin)
    received = 0
    while not connection.closing:
        protocol.data_received(part * (PART_BYTES // len(part)))
        received += PART_BYTES
        assert received < 2 * MAX_HEAD_BYTES, "nobody ended it"
    assert b"400" in b"".join(connection.written).partition(b"\r\n")[0]


async def test_many_short_heads_are_no_long_head() -> None:
    protocol, connection = connected(greet)
    for _ in range(2 * MAX_HEAD_BYTES // len(GET)):
        protocol.data_received(GET)
        await settle(protocol)
    assert not connection.closing


async def test_a_long_body_does_not_count_for_the_head_behind_it() -> None:
    protocol, connection = connected(greet)
    post = b"POST / HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (2 * MAX_HEAD_BYTES)
    protocol.data_received(post + bytes(2 * MAX_HEAD_BYTES) + GET[:5])
    protocol.data_received(GET[5:])
    await settle(protocol)
    assert b"".join(connection.written).count(b"\r\n\r\nhello") == 2


async def test_a_long_body_in_small_chunks_is_no_long_head() -> None:
    protocol, connection = connected(greet)
    protocol.data_received(CHUNKED)
    for _ in range(2 * MAX_HEAD_BYTES // PART_BYTES):
        protocol.data_received(b"1\r\nx\r\n" * (PART_BYTES // 6))
    protocol.data_received(b"0\r\n\r\n" + GET)
    await settle(protocol)
    assert b"".join(connection.written).count(b"\r\n\r\nhello") == 2
