"""How much of a constant raw ASGI answer the verify route reaches, on one core, in the same run.

``python tests/benchmarks/verify_http.py [keys] [seconds per round] [rounds]``: one process serves both applications
under uvicorn on the first core; this one asks from the second core over 32 connections, in turns, so that whatever else
the machine does falls on both. Also prints the check alone in a loop. Attempts go to a log in memory.
"""

import asyncio
import os
import random
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec
import uvicorn

from keyledger.contracts.freshness import Head
from keyledger.contracts.topics import HEADS, TOPICS
from keyledger.domain.identifiers import resource_id, role_stream
from keyledger.eventlog.port import NewRecord
from keyledger.projections.port import Checkpoint, Versioned
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.testing.memory_log import MemoryLog
from keyledger.verification.asgi import VerifyApp
from keyledger.verification.index import LmdbIndex, open_index
from keyledger.verification.node import NodeSettings, VerifierNode
from keyledger.verification.peppers import Peppers
from keyledger.verification.records import KeyRecord, OrganizationRecord, OwnerRecord, Record, RoleRecord, SecretRecord
from keyledger.verification.token import mint, secret_of
from keyledger.verification.verdict import Ask

STORE = "a" * 32
PEPPERS = Peppers([b"a master for measuring, 32 bytes"])
CONNECTIONS = 32
TOKENS = 50_000
BATCH = 5_000
CONSTANT_BODY = b'{"valid":true,"code":"valid"}' + b" " * 400
CONSTANT_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(CONSTANT_BODY))]


async def constant(scope: Any, receive: Any, send: Any) -> None:  # noqa: ARG001 - what is asked does not matter
    """Answer what is always the same, of about the size of a verdict."""
    await send({"type": "http.response.start", "status": 200, "headers": CONSTANT_HEADERS})
    await send({"type": "http.response.body", "body": CONSTANT_BODY})


async def fill(index: LmdbIndex, count: int) -> list[str]:
    """Write ``count`` keys of 10,000 users; return some of their tokens."""
    randomly = random.Random(1)
    org = resource_id("org", 1)
    role = RoleRecord(org, "developer", "Developer", frozenset({"*:read", "agents:create"}), frozenset())
    rows: dict[str, Versioned[Record]] = {
        org: Versioned(1, OrganizationRecord(operator=False)),
        role_stream(org, "developer"): Versioned(1, role),
    }
    tokens: list[str] = []
    last = Checkpoint()
    for first in range(0, count, BATCH):
        for number in range(first, min(first + BATCH, count)):
            key_id, user = resource_id("key", randomly.getrandbits(128)), resource_id("user", number % 10_000)
            token = mint("dev", key_id, randomly.randbytes(20))
            if len(tokens) < TOKENS:
                tokens.append(token)
            secret = SecretRecord(f"{number:016x}", *PEPPERS.digest(org, secret_of(token)))
            owned = KeyRecord(org, "personal", "user", user, "a key of ours", None, "dev", None, (secret,))
            rows[key_id] = Versioned(1, owned)
            rows[user] = Versioned(1, OwnerRecord(org, "user", ("developer",)))
        new = Checkpoint(STORE, last.position + len(rows), next_offset=0)
        async with index.transaction() as transaction:
            await transaction.move_checkpoint(expected=last, new=new)
            await transaction.save(rows)
        last, rows = new, {}
    randomly.shuffle(tokens)
    return tokens


async def serve(folder: Path, count: int) -> None:
    """Serve both applications; print the two ports, then the check's figures."""
    os.sched_setaffinity(0, {0})
    index = open_index(folder, generation=1, size_mb=2048)
    tokens = await fill(index, count)
    (folder / "tokens").write_text("\n".join(tokens), encoding="ascii")
    log = MemoryLog()
    await log.ensure_topics(TOPICS)
    clock = SystemClock()
    settings = NodeSettings(node="bench", max_staleness_seconds=3600)
    node = VerifierNode(index, PEPPERS, log, settings=settings, clock=clock, randomness=SystemRandomness())
    head = Head(store=STORE, position=index.applied().position, at=clock.now())
    await log.append(HEADS.name, 0, [NewRecord(None, msgspec.json.encode(head))])
    running = asyncio.create_task(node.run())
    while not node.ready:  # noqa: ASYNC110 - once, at the start
        await asyncio.sleep(0.01)
    app = VerifyApp(
        node,
        write_position=lambda position: f"{position:060}",
        read_position=lambda _: None,
        clock=clock,
        randomness=SystemRandomness(),
    )
    check(node, tokens)
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    for one in listening:  # uvloop sets this only on sockets that it made; without it Nagle waits 40 ms for an ACK
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sys.stdout.write(" ".join(str(one.getsockname()[1]) for one in listening) + "\n")
    sys.stdout.flush()
    options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "server_header": False}
    servers = [uvicorn.Server(uvicorn.Config(each, **options)) for each in (constant, app)]
    await asyncio.gather(
        running, *(server.serve(sockets=[one]) for server, one in zip(servers, listening, strict=True))
    )


def check(node: VerifierNode, tokens: list[str]) -> None:
    """Print what one check costs the processor in a loop over many keys, and over one."""
    ask = Ask(node.freshness.fresh_as_of or 0, None, "192.0.2.1")
    for name, asked in (("many keys", tokens), ("one key", tokens[:1] * 20_000)):
        rounds = []
        for _ in range(5):
            began = time.thread_time()
            for token in asked:
                node.verifier.verify(token, ask)
            rounds.append((time.thread_time() - began) / len(asked) * 1e6)
        sys.stderr.write(
            f"the check alone, {name}: best {min(rounds):.2f} us, median {statistics.median(rounds):.2f} us\n"
        )


def load(port: int, tokens: list[str], seconds: float) -> tuple[float, list[float]]:
    """Ask over keep-alive connections, one request at a time on each; return answers a second and latencies."""
    poll = select.epoll()
    sockets: dict[int, socket.socket] = {}
    begun: dict[int, float] = {}
    received: dict[int, bytes] = {}
    latencies: list[float] = []
    number = 0

    def ask(one: socket.socket) -> None:
        nonlocal number
        number += 1
        token = tokens[number % len(tokens)]
        request = f"GET /v1/auth/verify HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\r\n"
        begun[one.fileno()] = time.perf_counter()
        one.send(request.encode())

    for _ in range(CONNECTIONS):
        one = socket.create_connection(("127.0.0.1", port))
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sockets[one.fileno()] = one
        poll.register(one.fileno(), select.EPOLLIN)
        ask(one)
    began = time.perf_counter()
    while time.perf_counter() - began < seconds:
        for ready, _ in poll.poll(1):
            answer = received.pop(ready, b"") + sockets[ready].recv(65536)
            if not is_whole(answer):
                received[ready] = answer
                continue
            latencies.append(time.perf_counter() - begun[ready])
            ask(sockets[ready])
    took = time.perf_counter() - began
    for one in sockets.values():
        one.close()
    return len(latencies) / took, latencies


def is_whole(answer: bytes) -> bool:
    """Say whether nothing is missing: the server sends head and body in two writes."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return False
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer.decode())
    return len(body) == int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])


def main() -> None:
    """Measure and print."""
    count, seconds, rounds = (float(text) for text in (*sys.argv[1:4], *("100000", "1", "7")[len(sys.argv) - 1 :]))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        command = [sys.executable, __file__, "--serve", name, str(int(count))]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            try:
                assert server.stdout is not None
                ports = [int(port) for port in server.stdout.readline().split()]
                tokens = (folder / "tokens").read_text(encoding="ascii").split("\n")
                os.sched_setaffinity(0, {1})
                report(server.pid, ports, tokens, seconds, int(rounds))
            finally:
                server.kill()


def cpu_seconds(process: int) -> float:
    """Return what a process has had of the processors so far: it is not disturbed by others as elapsed time is."""
    fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def report(process: int, ports: list[int], tokens: list[str], seconds: float, rounds: int) -> None:
    """Ask both in turns and print medians."""
    constants, verifies, latencies = [], [], []
    costs: list[tuple[float, float]] = []
    for _ in range(rounds):
        before = cpu_seconds(process)
        rate, took = load(ports[0], tokens, seconds)
        between = cpu_seconds(process)
        constants.append(rate)
        verified, took_verifying = load(ports[1], tokens, seconds)
        verifies.append(verified)
        costs.append(((between - before) / len(took), (cpu_seconds(process) - between) / len(took_verifying)))
        latencies += took_verifying
    ratios = [verified / constantly for verified, constantly in zip(verifies, constants, strict=True)]
    cheap, dear = (statistics.median(cost) * 1e6 for cost in zip(*costs, strict=True))
    latencies.sort()
    p50, p99 = (latencies[len(latencies) * part // 100] * 1e3 for part in (50, 99))
    sys.stdout.write(
        f"constant {statistics.median(constants):,.0f}/s, verify {statistics.median(verifies):,.0f}/s, "
        f"ratio {statistics.median(ratios):.2f} (of {rounds} rounds: {min(ratios):.2f} to {max(ratios):.2f}); "
        f"server's processor time a request {cheap:.1f} and {dear:.1f} us, ratio {cheap / dear:.2f}; "
        f"verify p50 {p50:.2f} ms, p99 {p99:.2f} ms\n"
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--serve"]:
        asyncio.run(serve(Path(sys.argv[2]), int(sys.argv[3])))
    else:
        main()
