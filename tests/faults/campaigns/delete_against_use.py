"""A role is deleted while keys and users get it, and another role the right to hand it out, at the same moment."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final, Self

import httpx2

from keyledger.contracts.envelope import Fact
from keyledger.domain.events import (
    KeyCreated,
    KeyRevoked,
    KeyUpdated,
    RoleClosed,
    RoleDefined,
    RoleDeleted,
    UserCreated,
)
from keyledger.web.app import REQUEST_ID_HEADER
from tests.faults.backends import Backend, on_both, world_on
from tests.faults.campaign import Outcome, Stage
from tests.faults.clients import REQUEST_SECONDS, ClientLedger, Write
from tests.faults.judging import judge_all
from tests.faults.oracle.ledger import facts_of
from tests.faults.processes import SERVE

ROLES: Final = 5
"""Each has a race of its own in each round."""
USES: Final = ("key", "moved key", "user", "grant")
SPREAD_SECONDS: Final = 0.03
"""Within this time of each other the uses and the deletion are sent, so that each comes first sometimes."""


class _Deleting:
    """Deletes roles. Each deletion writes twice, so that it is none of the writes that are looked for one by one."""

    def __init__(self, origin: str, by: str) -> None:
        headers = {"Authorization": f"Bearer {by}"}
        self._client = httpx2.AsyncClient(base_url=origin, headers=headers, timeout=REQUEST_SECONDS, trust_env=False)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    async def delete(self, role: str, *, after: float = 0) -> str:
        """Return ``deleted``, or the code of the refusal."""
        await asyncio.sleep(after)
        headers = {REQUEST_ID_HEADER: f"other-{role}"}
        answered = await self._client.delete(f"/v1/roles/{role}", headers=headers)
        return str(answered.json()["code"]) if answered.is_error else "deleted"


async def _races(stage: Stage, backend: Backend) -> Outcome:
    """Race for roles, round after round: whatever names one lives only while the role does."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_on(stage, backend))
        serve, service = await world.started(SERVE), await world.started("commands")
        clients = await stack.enter_async_context(ClientLedger(serve.origin, by=world.root_key))
        other = await stack.enter_async_context(_Deleting(service.origin, world.root_key))
        moved = [await clients.send("POST", "/v1/api-keys", {"name": "moved"}) for _ in range(ROLES)]
        violations: list[str] = []
        for number in range(stage.rounds):
            races = [
                _race(stage, clients, f"r{number}-{place}", str(key.answer["id"]), other)
                for place, key in enumerate(moved)
            ]
            violations += itertools.chain(*await asyncio.gather(*races))
        async with world.ledger() as ledger:
            violations += _named_without_being(await facts_of(ledger))
        outcome = await judge_all(
            world, clients, faults=stage.rounds * ROLES, verifier=serve, directory=serve, alerts=False
        )
        outcome.violations += violations
        return outcome


async def _race(stage: Stage, clients: ClientLedger, role: str, moved: str, other: _Deleting) -> list[str]:
    """One deletion against some of the uses, then a second one when what can be taken back is."""
    defined = {"id": role, "name": "raced", "permissions": ["agents:read"]}
    await clients.send("POST", "/v1/roles", defined)
    uses = stage.random.sample(USES, stage.random.randint(1, 3))
    waits = [stage.random.uniform(0, SPREAD_SECONDS) for _ in range(len(uses) + 1)]
    sent = [_use(clients, use, role, moved, after=seconds) for use, seconds in zip(uses, waits[1:], strict=True)]
    deletion, used = await asyncio.gather(other.delete(role, after=waits[0]), asyncio.gather(*sent))
    has = [use for use, write in zip(uses, used, strict=True) if write.state == "ok"]
    wrong = [f"{role}: a use was told {one.status} {one.code}" for one in used if one.status not in {200, 201, 422}]
    if deletion == "deleted":
        wrong += [f"{role} is deleted, and a {use} has it" for use in has]
        late = await clients.send("POST", "/v1/api-keys", {"name": "late", "role": role})
        again = await clients.send("POST", "/v1/roles", defined)
        if (late.status, again.status) != (422, 201):
            wrong.append(f"{role} is deleted, and a key was told {late.status}, a definition {again.status}")
    elif deletion != "role-in-use" or not has:
        wrong.append(f"{role} was told {deletion}, used by {has}")
    for use, write in zip(uses, used, strict=True):
        if write.state == "ok":
            await _taken_back(clients, use, write, moved)
    second = await other.delete(role)
    expected = "role-in-use" if "user" in has else "deleted"  # a user keeps their roles
    if second != expected:
        wrong.append(f"{role}, whose uses {has} were taken back but for a user's, was told {second}")
    return wrong


async def _use(clients: ClientLedger, use: str, role: str, moved: str, *, after: float) -> Write:
    await asyncio.sleep(after)
    match use:
        case "key":
            return await clients.send("POST", "/v1/api-keys", {"name": "raced", "role": role})
        case "moved key":
            return await clients.send("PATCH", f"/v1/api-keys/{moved}", {"role": role})
        case "user":
            return await clients.send("POST", "/v1/users", {"name": "raced", "role": role})
        case _:
            lead = {"id": f"{role}-lead", "name": "raced", "permissions": [], "grants": [role]}
            return await clients.send("POST", "/v1/roles", lead)


async def _taken_back(clients: ClientLedger, use: str, write: Write, moved: str) -> None:
    match use:
        case "key":
            await clients.send("DELETE", f"/v1/api-keys/{write.answer['id']}")
        case "moved key":
            await clients.send("PATCH", f"/v1/api-keys/{moved}", {"role": None})
        case "grant":
            await clients.send("PATCH", f"/v1/roles/{write.answer['id']}", {"grants": []})


def _named_without_being(facts: Sequence[Fact]) -> list[str]:
    """Return what got a role that, at that place of the ledger, was not open, and what had one when it was deleted."""
    is_open: set[str] = set()
    named: dict[str, set[str]] = {}
    violations: list[str] = []
    for fact in facts:
        stream, at = fact.header.stream, fact.header.position
        before = named.get(stream, set())
        match fact.event:
            case KeyCreated(role=role) | KeyUpdated(role=str() | None as role):
                named[stream] = {role} if role is not None else set()
            case UserCreated(roles=roles):
                named[stream] = set(roles)
            case KeyRevoked():
                named[stream] = set()
            case RoleDefined(role=role, grants=grants):
                is_open.add(role)
                named[stream] = set(grants) - {role, "*", "*:unprivileged"}
            case RoleClosed(role=role):
                is_open.remove(role)
            case RoleDeleted(role=role):
                named[stream] = set()
                violations += [f"{who} has {role}, deleted at {at}" for who, roles in named.items() if role in roles]
        new = named.get(stream, set()) - before - is_open
        violations += [f"{stream} got {role} at {at}, which nobody can get" for role in new]
    return violations


CAMPAIGNS: Final = on_both(
    "delete-against-use",
    _races,
    breaks="a role that is deleted is handed out at the same moment",
    runs=5,
    rounds=40,
    budget_minutes=2.0,
    short_rounds=4,
)
