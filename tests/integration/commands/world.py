"""A running command service in this process, over a real ledger, with people and keys in it."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any, cast

import httpx2

from keyledger.contracts.auth_event import AuthAttempt
from keyledger.contracts.registry import encode
from keyledger.domain.events import Event, KeyCreated, RoleDefined
from keyledger.domain.organizations import FoundOrganization, seed
from keyledger.eventstore.port import Append, Ledger
from keyledger.runtime.clock import SystemRandomness
from keyledger.testing.ledger_examples import last_version
from keyledger.verification.peppers import Peppers
from keyledger_commands.api import create_api
from keyledger_commands.authentication import LedgerAuthentication
from keyledger_commands.bootstrap import bootstrap
from keyledger_commands.issuing import Issuer
from keyledger_commands.streams import Streams
from tests.integration.commands.watched import Watched

PEER = "192.0.2.7"
PEPPERS = Peppers([bytes(range(32))])
UNKNOWN_KEY = "key_0000000000000000000000"


class SetClock:
    """A clock that stands still until it is told to move."""

    def __init__(self) -> None:
        self.time = datetime(2026, 11, 24, 6, 0, tzinfo=UTC)

    def now(self) -> int:
        return (self.time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)

    def monotonic(self) -> float:
        return self.time.timestamp()

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        await asyncio.sleep(0)  # others must get their turn


@dataclass
class World:
    """One installation. ``root`` is the token of the administrator that the first start made."""

    ledger: Watched
    client: httpx2.AsyncClient
    clock: SetClock
    root: str
    organization_id: str
    attempts: list[AuthAttempt]
    randomness: SystemRandomness = field(default_factory=SystemRandomness)

    async def send(self, method: str, path: str, *, key: str | None = None, **more: Any) -> httpx2.Response:
        """Send a request, as the root key unless another (or "": none) is given."""
        token = self.root if key is None else key
        headers = {**({"Authorization": f"Bearer {token}"} if token else {}), **more.pop("headers", {})}
        return await self.client.request(method, path, headers=headers, **more)

    async def owner(self, path: str = "/v1/teams", **fields: Any) -> str:
        """Return the id of a new team, user or service account."""
        made = await self.send("POST", path, json={"name": "Somebody", **fields})
        assert made.status_code == 201, made.text
        return str(made.json()["id"])

    async def user(self, role: str = "viewer") -> str:
        """Return the id of a new user."""
        return await self.owner("/v1/users", role=role)

    async def created(self, **fields: Any) -> dict[str, Any]:
        """Return a new key with its token, as it was answered; a developer's of the administrator by default."""
        made = await self.send("POST", "/v1/api-keys", json={"name": "a key", "role": "developer", **fields})
        assert made.status_code == 201, made.text
        return dict(made.json())

    async def defined(self, role: str, *permissions: str, grants: Sequence[str] = ()) -> str:
        """Return the id of a new role."""
        body = {"id": role, "name": role, "permissions": permissions, "grants": grants}
        made = await self.send("POST", "/v1/roles", json=body)
        assert made.status_code == 201, made.text
        return role

    async def key_of(self, role: str) -> str:
        """Return the token of a personal key, with its owner's role, of a new user with this role."""
        return str((await self.created(owner_id=await self.user(role), role=None))["key"])

    async def works(self, key: str) -> bool:
        """Say whether a token lets its holder in."""
        return (await self.send("GET", "/v1/users/user_0000000000000000000000", key=key)).status_code == 404

    async def foreign(self) -> "Foreign":
        """Return another organization, with an administrator, beside the first one."""
        randomness = self.randomness
        command = FoundOrganization(
            organization_id=randomness.resource_id("org"),
            name="Other",
            operator=False,
            administrator_id=randomness.resource_id("user"),
        )
        for stream, event in seed(command):
            await self.write(stream, event, organization_id=command.organization_id)
        return Foreign(command.organization_id, command.administrator_id)

    async def stranger(self) -> str:
        """Return the token of another organization's administrator."""
        foreign = await self.foreign()
        issuer, key_id = Issuer(PEPPERS, self.randomness), self.randomness.resource_id("key")
        issued = issuer.issue(foreign.organization_id, key_id, "dev")
        event = KeyCreated(
            organization_id=foreign.organization_id,
            key_id=key_id,
            type="personal",
            owner_type="user",
            owner_id=foreign.user_id,
            name="stranger's key",
            description="",
            role=None,
            environment="dev",
            expires_at=None,
            secret=issued.secret,
        )
        await self.write(key_id, event, organization_id=foreign.organization_id)
        return issued.token

    def role(self, role: str, permissions: list[str], grants: list[str]) -> RoleDefined:
        """Return the fact that defines a role."""
        return RoleDefined(
            organization_id=self.organization_id,
            role=role,
            name=role,
            permissions=tuple(permissions),
            grants=tuple(grants),
        )

    def twin(self) -> "World":
        """Return a second process on the same ledger."""
        twin = served(self.ledger.inner, self.clock)
        return World(twin.ledger, twin.client, self.clock, self.root, self.organization_id, twin.attempts)

    async def write(self, stream: str, event: Event, *, organization_id: str | None = None) -> None:
        """Write an event as another process would, at the end of its stream."""
        version = last_version((await self.ledger.inner.load([stream]))[stream])
        append = Append(
            append_id=self.randomness.token_hex(16),
            organization_id=organization_id or self.organization_id,
            stream=stream,
            expected_version=version,
            events=(encode(event),),
            request_id="another",
        )
        await self.ledger.inner.append(append)


@dataclass(frozen=True)
class Foreign:
    """Another tenant."""

    organization_id: str
    user_id: str


@dataclass(frozen=True)
class Served:
    """One process of the command service."""

    ledger: Watched
    client: httpx2.AsyncClient
    attempts: list[AuthAttempt]


def served(ledger: Ledger, clock: SetClock, *trusted: str) -> Served:
    """Serve a ledger; ``trusted`` are networks of proxies."""
    randomness, watched = SystemRandomness(), Watched(ledger)
    attempts: list[AuthAttempt] = []
    streams = Streams(cast("Ledger", watched), clock)
    authentication = LedgerAuthentication(
        streams,
        PEPPERS,
        clock=clock,
        randomness=randomness,
        record=attempts.append,
        node="test",
        trusted_proxies=[ip_network(network) for network in trusted],
    )
    app = create_api(
        cast("Ledger", watched), streams, authentication, peppers=PEPPERS, clock=clock, randomness=randomness
    )
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False, client=(PEER, 40000))
    return Served(watched, httpx2.AsyncClient(transport=transport, base_url="http://keyledger.test"), attempts)


async def opened(ledger: Ledger, clock: SetClock, data_dir: Path, *trusted: str) -> World:
    """Bootstrap a ledger and serve it."""
    made = await bootstrap(ledger, PEPPERS, SystemRandomness(), clock, data_dir)
    assert made is not None
    one = served(ledger, clock, *trusted)
    first = (await ledger.read(0, limit=1))[0].header
    root = made.read_text(encoding="ascii").strip()
    return World(one.ledger, one.client, clock, root, first.organization_id, one.attempts)


def pointers(answered: httpx2.Response) -> list[str]:
    """Return what an answer of 422 points to."""
    assert answered.status_code == 422, answered.text
    assert answered.headers["content-type"] == "application/problem+json"
    return [error["pointer"] for error in answered.json()["errors"]]


def problem_of(answered: httpx2.Response, status: int) -> str:
    """Return the code of a refusal."""
    assert answered.status_code == status, answered.text
    body = answered.json()
    assert answered.headers["content-type"] == "application/problem+json"
    assert answered.headers["cache-control"] == "no-store"
    assert (body["status"], body["type"]) == (status, f"urn:keyledger:problem:{body['code']}")
    assert body["request_id"] == answered.headers["keyledger-request-id"]
    return str(body["code"])


def alike(answered: httpx2.Response) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return all of an answer but its request id."""
    headers = {name: value for name, value in answered.headers.items() if name != "keyledger-request-id"}
    return answered.status_code, headers, {**json.loads(answered.content), "request_id": ""}
