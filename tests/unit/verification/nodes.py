"""A node running on a log in memory, and requests to its application without a server."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from keyledger.contracts.auth_event import AuthAttempt, decode_attempts
from keyledger.contracts.freshness import Head, VerifierReport, decode_report
from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import AUTH, AUTH_BY_SOURCE, HEADS, LEDGER, TOPICS, VERIFIERS
from keyledger.eventlog.port import NewRecord
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.testing.memory_log import MemoryLog
from keyledger.verification.asgi import VerifyApp
from keyledger.verification.index import open_index
from keyledger.verification.node import NodeSettings, VerifierNode
from tests.unit.beside import running_beside
from tests.unit.verification.world import INDEX_SIZE_MB, PEPPERS, STORE, Facts

DEADLINE_SECONDS = 120
NODE = "node-1"


class Answered(msgspec.Struct):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Place:
    """A log with a ledger's topics, a node on it, and its application."""

    def __init__(
        self,
        folder: Path,
        *,
        log: MemoryLog | None = None,
        proxies: Iterable[Any] = (),
        generation: int = 1,
        clock: Clock | None = None,
        **more: Any,
    ) -> None:
        self.clock = clock or SystemClock()
        self.log = log or MemoryLog()
        self.facts = Facts()
        self._published = 0
        self.index = open_index(folder, generation=generation, size_mb=INDEX_SIZE_MB)
        self.node = VerifierNode(
            self.index,
            PEPPERS,
            self.log,
            # Long, so that one head is enough for a test however long the machine stands still.
            settings=NodeSettings(node=NODE, **{"max_staleness_seconds": 600, **more}),
            clock=self.clock,
            randomness=SystemRandomness(),
        )
        self.app = VerifyApp(
            self.node,
            write_position=lambda position: f"position-{position}",
            read_position=lambda text: int(text[9:]) if text.startswith("position-") else None,
            clock=self.clock,
            randomness=SystemRandomness(),
            trusted_proxies=proxies,
        )

    async def publish(self) -> None:
        """Relay the new facts."""
        new = self.facts.records(self._published)
        self._published = len(self.facts.entries)
        await self.log.append(LEDGER.name, 0, new)

    async def beat(self, *, position: int | None = None, at: int | None = None, store: str = STORE) -> None:
        """Publish a head."""
        head = Head(
            store=store,
            position=len(self.facts.entries) if position is None else position,
            at=self.clock.now() if at is None else at,
        )
        await self.log.append(HEADS.name, 0, [NewRecord(None, msgspec.json.encode(head))])

    async def ask(
        self,
        token: str | None = None,
        *,
        query: bytes = b"",
        method: str = "GET",
        path: str = "/v1/auth/verify",
        client: tuple[str, int] | None = ("192.0.2.1", 4711),
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> Answered:
        """Return the application's answer."""
        sent: list[Any] = []

        async def send(message: Any) -> None:
            sent.append(message)

        async def receive() -> Any:
            return {"type": "http.request", "body": b"", "more_body": False}

        authorization = [] if token is None else [(b"authorization", b"Bearer " + token.encode())]
        scope = {
            "type": "http",
            "method": method,
            "path": path,
            "query_string": query,
            "headers": [*authorization, *headers],
            "client": client,
        }
        await self.app(scope, receive, send)
        start, body = sent
        names = [name for name, _ in start["headers"]]
        assert len(names) == len(set(names))
        said = {name.decode(): value.decode() for name, value in start["headers"]}
        return Answered(start["status"], said, body["body"])

    def attempts(self, topic: str = AUTH.name) -> list[AuthAttempt]:
        """Return what was told of the attempts, in the order of their numbers."""
        held = [record for partition in range(4) for record in self.log.held(topic, partition)]
        found = [one for record in held for one in decode_attempts(record.value or b"")]
        return sorted(found, key=lambda one: int(one.id.rpartition(".")[2]))

    async def told(self, count: int) -> list[AuthAttempt]:
        """Return the attempts once there are so many, the same on both topics."""
        await until(lambda: min(len(self.attempts()), len(self.attempts(AUTH_BY_SOURCE.name))) >= count)
        assert self.attempts() == self.attempts(AUTH_BY_SOURCE.name)
        return self.attempts()

    def reports(self) -> list[VerifierReport]:
        """Return the node's reports."""
        return [decode_report(record.value or b"") for record in self.log.held(VERIFIERS.name, 0)]


@asynccontextmanager
async def running(place: Place) -> AsyncIterator[asyncio.Task[None]]:
    """Run the node; at the end stop it as a service does. Where it falls the body ends at once, and why is raised."""
    await place.log.ensure_topics(TOPICS)
    try:
        async with running_beside(place.node.run()) as task:
            yield task
    finally:
        place.index.close()


async def until(condition: Callable[[], bool]) -> None:
    """Return once it holds."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        while not condition():  # noqa: ASYNC110 - a condition of many parts
            await asyncio.sleep(0.001)
