"""The directory over HTTP, with a ledger that the test writes and a caller that the test chooses."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx2
from fastapi import FastAPI, Request

from keyledger.contracts.envelope import Entry
from keyledger.contracts.topics import LEDGER
from keyledger.domain.permissions import Authority, Role
from keyledger.projections.runner import ProjectionRunner
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.testing.memory_log import MemoryLog
from keyledger.verification.freshness import Freshness
from keyledger.web.cursors import Cursors
from keyledger.web.positions import PositionTokens
from keyledger.web.principal import Principal, insufficient
from keyledger.web.problems import Problem
from keyledger_directory.api import create_api
from keyledger_directory.projector import DirectoryRow, KeyDirectory
from keyledger_directory.store import DirectoryStore
from tests.integration.directory.projector_process import store_at
from tests.unit.projections.following import DEADLINE_SECONDS, running
from tests.unit.projections.written import ORGANIZATION, START, STORE, Written, records

POSITIONS = PositionTokens(STORE, b"k" * 32)


def caller(*permissions: str, organization_id: str = ORGANIZATION) -> Principal:
    role = Role("role", "Role", frozenset(permissions), frozenset())
    return Principal(
        organization_id=organization_id,
        operator=False,
        key_id="key_1",
        owner_type="user",
        owner_id="user_1",
        authority=Authority(((role,),)),
    )


class SetClock(SystemClock):
    """A wall clock that the test sets; waiting is real."""

    def __init__(self) -> None:
        self.wall = START

    def now(self) -> int:
        return self.wall


class Directory:
    """What a test holds of the running directory."""

    def __init__(self, store: DirectoryStore, runner: ProjectionRunner[DirectoryRow], log: MemoryLog) -> None:
        self.store, self.runner, self.log = store, runner, log
        self.clock = SetClock()
        self.caller: Principal | None = caller("api-keys:read")
        self.ledger = Written([], {})
        self.freshness = Freshness(
            store=STORE,
            position=0,
            max_staleness_seconds=10,
            clock_skew_seconds=1,
            on_stale="refuse",
            clock=self.clock,
        )
        self.http = httpx2.AsyncClient(transport=httpx2.ASGITransport(self._app()), base_url="http://directory")

    def _app(self) -> FastAPI:
        return create_api(
            self.store,
            self.runner,
            self.authenticate,
            positions=lambda: POSITIONS,
            freshness=self.freshness,
            cursors=Cursors(b"c" * 32),
            clock=self.clock,
            randomness=SystemRandomness(),
        )

    async def authenticate(self, _request: Request, permission: str) -> Principal:
        if self.caller is None:
            raise Problem("missing-credential")
        if not self.caller.allows(permission):
            raise insufficient(permission)
        return self.caller

    async def relay(self, *entries: Entry) -> None:
        """Let these rows, of ``ledger``, arrive; return when they are applied."""
        await self.log.append(LEDGER.name, 0, records(entries))
        assert await self.runner.wait_for(entries[-1].header.position, timeout_seconds=DEADLINE_SECONDS)

    async def get(self, path: str, expected: int = 200, **headers: str | bytes) -> httpx2.Response:
        named = [(name.replace("_", "-").encode(), _bytes(value)) for name, value in headers.items()]
        answer = await self.http.get(path, headers=named)
        assert answer.status_code == expected, answer.text
        return answer

    async def names(self, path: str) -> list[str]:
        return [key["name"] for key in (await self.get(path)).json()["data"]]

    async def all_pages(self, path: str) -> AsyncIterator[Sequence[dict[str, Any]]]:
        """Follow the links from page to page."""
        following: str | None = path
        while following is not None:
            answer = await self.get(following)
            yield answer.json()["data"]
            following = answer.links["next"]["url"] if "next" in answer.links else None


@asynccontextmanager
async def serving(url: str) -> AsyncIterator[Directory]:
    log = MemoryLog()
    await log.ensure_topics([LEDGER])
    store = store_at(url)
    await store.prepare()
    runner = ProjectionRunner(KeyDirectory(), store, log, clock=SystemClock())
    directory = Directory(store, runner, log)
    async with directory.http, running(runner):
        yield directory
    await store.close()


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value
