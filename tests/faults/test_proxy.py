"""The faulty network does to bytes what it says, and nothing else."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from infra.local.ports import LOOPBACK
from tests.faults.proxy import Proxy
from tests.faults.waiting import until

DEADLINE_SECONDS = 60.0


@pytest.fixture
async def proxy() -> AsyncIterator[Proxy]:
    """A proxy in front of a server that answers each line with itself."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while line := await reader.readline():
                writer.write(line)
                await writer.drain()
        except ConnectionError:
            pass  # reset by the proxy: half of these tests
        finally:
            writer.transport.abort()

    server = await asyncio.start_server(echo, LOOPBACK, 0, limit=1_000_000)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, line: bytes) -> bytes:
        self.writer.write(line + b"\n")
        async with asyncio.timeout(DEADLINE_SECONDS):
            return (await self.reader.readline()).rstrip(b"\n")


@pytest.fixture
async def client(proxy: Proxy) -> AsyncIterator[Client]:
    client = await connected(proxy)
    yield client
    client.writer.transport.abort()


async def connected(proxy: Proxy) -> Client:
    return Client(*await asyncio.open_connection(LOOPBACK, proxy.port, limit=1_000_000))


async def test_bytes_pass_unchanged_and_in_order(client: Client) -> None:
    long = bytes(range(11, 256)) * 3_000
    for line in (b"one", long, b"two"):
        assert await client.ask(line) == line


async def test_latency_holds_each_way_and_does_not_add_up(proxy: Proxy, client: Client) -> None:
    proxy.slow(latency_seconds=0.2)
    began = time.monotonic()
    for number in range(50):
        client.writer.write(b"%d\n" % number)
        await asyncio.sleep(0)  # so that they leave one by one
    lines = [await client.ask(b"last"), *[(await client.reader.readline()).strip() for _ in range(50)]]
    assert lines == [*[b"%d" % number for number in range(50)], b"last"]
    assert 0.4 <= time.monotonic() - began < 50 * 0.4


async def test_bandwidth_is_kept_to(proxy: Proxy, client: Client) -> None:
    proxy.requests.bytes_per_second = 20_000
    began = time.monotonic()
    assert len(await client.ask(bytes(10_000).replace(b"\0", b"x"))) == 10_000
    assert time.monotonic() - began >= 0.5


async def test_what_a_black_hole_held_arrives_when_it_heals(proxy: Proxy, client: Client) -> None:
    proxy.black_hole()
    asking = asyncio.create_task(client.ask(b"held"))
    done, _ = await asyncio.wait([asking], timeout=0.2)
    assert not done
    proxy.heal()
    assert await asking == b"held"


async def test_only_the_answer_is_held(proxy: Proxy, client: Client) -> None:
    proxy.answers.hold()
    asking = asyncio.create_task(client.ask(b"heard"))
    await until(lambda: proxy.requests.passed_bytes >= len(b"heard\n"), "the request has passed")
    assert not asking.done()
    assert proxy.answers.passed_bytes == 0
    proxy.heal()
    assert await asking == b"heard"


async def test_a_reset_ends_what_is_there_and_the_next_connection_works(proxy: Proxy, client: Client) -> None:
    assert await client.ask(b"one") == b"one"
    proxy.black_hole()  # also while it holds something
    asking = asyncio.create_task(client.ask(b"lost"))
    proxy.reset()
    with pytest.raises(ConnectionError):
        await asking
    proxy.heal()
    again = await connected(proxy)
    assert await again.ask(b"two") == b"two"
    again.writer.transport.abort()


async def test_a_refusing_one_leaves_the_others_alone(proxy: Proxy, client: Client) -> None:
    assert await client.ask(b"one") == b"one"
    proxy.refuses = True
    refused = await connected(proxy)
    with pytest.raises(ConnectionError):
        await refused.ask(b"two")
    assert await client.ask(b"three") == b"three"


@pytest.mark.parametrize("deliver", [False, True])
async def test_a_connection_is_cut_at_the_named_bytes_also_across_pieces(
    proxy: Proxy, client: Client, *, deliver: bool
) -> None:
    proxy.requests.cut_at(b"COMMIT", deliver=deliver)
    assert await client.ask(b"BEGIN") == b"BEGIN"
    passed = proxy.requests.passed_bytes
    client.writer.write(b"COM")
    await until(lambda: proxy.requests.passed_bytes >= passed + 3, "the first piece has passed")
    with pytest.raises(ConnectionError):
        await client.ask(b"MIT")
    assert proxy.requests.cuts_left == 0
    assert proxy.requests.passed_bytes == passed + (7 if deliver else 3)
    again = await connected(proxy)
    assert await again.ask(b"COMMIT") == b"COMMIT"
    again.writer.transport.abort()
