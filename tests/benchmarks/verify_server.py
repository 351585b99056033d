"""``python -m tests.benchmarks.verify_server FOLDER KEYS LOG``: serve a constant application and the verify route.

On the first core, by the loop and the server that every process of ours has. Prints the two ports and what the check
alone costs; writes tokens to ``tokens`` in the folder. Attempts go to the log of the URL.
"""

import asyncio
import os
import random
import socket
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry

from keyledger.contracts.freshness import Head
from keyledger.contracts.topics import HEADS, TOPICS
from keyledger.domain.identifiers import resource_id, role_stream
from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import NewRecord
from keyledger.projections.port import Checkpoint, Versioned
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.runtime.collecting import collect_seldom, keep_for_good
from keyledger.runtime.node_metrics import NodeMetrics
from keyledger.runtime.process import loop_factory
from keyledger.runtime.serving import http_server
from keyledger.verification.asgi import VerifyApp
from keyledger.verification.index import LmdbIndex, open_index
from keyledger.verification.node import NodeSettings, VerifierNode
from keyledger.verification.peppers import Peppers
from keyledger.verification.records import KeyRecord, OrganizationRecord, OwnerRecord, Record, RoleRecord, SecretRecord
from keyledger.verification.token import mint, secret_of
from keyledger.verification.verdict import Ask
from keyledger.web.health import Health

STORE = "a" * 32
PEPPERS = Peppers([b"a master for measuring, 32 bytes"])
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
            owned = KeyRecord(org, "personal", "user", user, "a key of ours", None, "dev", None, 1, (secret,))
            rows[key_id] = Versioned(1, owned)
            rows[user] = Versioned(1, OwnerRecord(org, "user", ("developer",)))
        new = Checkpoint(STORE, last.position + len(rows), next_offset=0)
        async with index.transaction() as transaction:
            await transaction.move_checkpoint(expected=last, new=new)
            await transaction.save(rows)
        last, rows = new, {}
    randomly.shuffle(tokens)
    return tokens


async def serve(folder: Path, count: int, log_url: str) -> None:
    """Serve both applications; print the two ports, then the check's figures."""
    collect_seldom()  # as every process of ours does
    os.sched_setaffinity(0, {0})
    index = open_index(folder, generation=1, size_mb=2048)
    tokens = await fill(index, count)
    (folder / "tokens").write_text("\n".join(tokens), encoding="ascii")
    log = await open_log(log_url)
    await log.ensure_topics(TOPICS)
    clock = SystemClock()
    settings = NodeSettings(node="bench", max_staleness_seconds=3600)
    node = VerifierNode(index, PEPPERS, log, settings=settings, clock=clock, randomness=SystemRandomness())
    head = Head(store=STORE, position=index.applied().position, at=clock.now())
    producer = await log.producer()
    await producer.send(HEADS.name, 0, [NewRecord(None, msgspec.json.encode(head))])
    running = asyncio.create_task(node.run())
    while not node.started:  # noqa: ASYNC110 - once, at the start
        await asyncio.sleep(0.01)
    keep_for_good()
    app = VerifyApp(
        node,
        write_position=lambda position: f"{position:060}",
        read_position=lambda _: None,
        clock=clock,
        randomness=SystemRandomness(),
    )
    microseconds = check(node, tokens)
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    for one in listening:  # uvloop sets this only on sockets that it made; without it Nagle waits 40 ms for an ACK
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    ports = " ".join(str(one.getsockname()[1]) for one in listening)
    sys.stdout.write(f"{ports} {microseconds:.2f}\n")
    sys.stdout.flush()
    registry = CollectorRegistry()
    registry.register(NodeMetrics(node, clock))
    health = Health(app, unready=node.unready, registry=registry)
    servers = [http_server(each, shutdown_seconds=1) for each in (constant, health)]
    await asyncio.gather(
        running, *(server.serve(sockets=[one]) for server, one in zip(servers, listening, strict=True))
    )


def check(node: VerifierNode, tokens: list[str]) -> float:
    """Return the microseconds of processor time that one check costs in a loop over many keys: the median of rounds."""
    ask = Ask(node.freshness.fresh_as_of or 0, None, "192.0.2.1")
    rounds = []
    for _ in range(5):
        began = time.thread_time()
        for token in tokens:
            node.verifier.verify(token, ask)
        rounds.append((time.thread_time() - began) / len(tokens) * 1e6)
    return statistics.median(rounds)


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(serve(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
