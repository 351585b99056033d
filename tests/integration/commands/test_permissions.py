"""Every route of the table with every kind of key: generated, so that a new route cannot be forgotten."""

from dataclasses import dataclass
from typing import Any

import pytest

from keyledger.contracts.routes import ROUTES, Route
from keyledger.domain.permissions import BUILTIN_ROLES, Role
from keyledger.verification.token import SECRET_BYTES, mint
from tests.integration.commands.world import World, problem_of

OURS = [route for route in ROUTES if route.service == "commands"]
REFUSED = {
    "no key": "missing-credential",
    "an unknown key": "invalid-credential",
    "a wrong secret": "invalid-credential",
    "a revoked key": "revoked",
    "an expired key": "expired",
    "a disabled key": "disabled",
    "a key of a deactivated user": "owner-deactivated",
}
ROLES = {
    builtin.role: Role(builtin.role, builtin.name, frozenset(builtin.permissions), frozenset(builtin.grants))
    for builtin in BUILTIN_ROLES
}
BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/api-keys"): {"name": "x", "role": "viewer"},
    ("PATCH", "/v1/api-keys/{key_id}"): {"name": "y"},
    ("POST", "/v1/roles"): {"id": "new", "name": "x", "permissions": []},
    ("PATCH", "/v1/roles/{role}"): {"name": "y"},
    ("POST", "/v1/users"): {"name": "x"},
    ("POST", "/v1/teams"): {"name": "x"},
    ("POST", "/v1/service-accounts"): {"name": "x"},
}
SUCCESS = {"GET": 200, "PATCH": 200, "DELETE": 204, "POST": 201}


@dataclass(frozen=True)
class Target:
    method: str
    path: str
    body: dict[str, Any] | None
    status: int


async def something(world: World, name: str) -> str:
    """Return the id of a thing that a path may name."""
    match name:
        case "key_id":
            return str((await world.created(role="viewer"))["id"])
        case "user_id":
            return await world.user()
        case "role":
            return await world.defined("custom")
        case "team_id":
            return await world.owner("/v1/teams")
        case _:
            return await world.owner("/v1/service-accounts")


async def target(world: World, route: Route) -> Target:
    """Return a request to the route that would succeed."""
    path = route.path
    for name in ("key_id", "role", "user_id", "team_id", "service_account_id"):
        if f"{{{name}}}" in path:
            path = path.replace(f"{{{name}}}", await something(world, name))
    status = 200 if path.endswith(("/rotate", "/finish", "able", "activate")) else SUCCESS[route.method]
    return Target(route.method, path, BODIES.get((route.method, route.path)), status)


async def refused_key(world: World, kind: str) -> str:
    match kind:
        case "no key":
            return ""
        case "an unknown key":
            return mint("dev", world.randomness.resource_id("key"), bytes(SECRET_BYTES))
        case "a wrong secret":
            return mint("dev", (await world.created(role="administrator"))["id"], bytes(SECRET_BYTES))
        case "a revoked key" | "a disabled key":
            made = await world.created(role="administrator")
            method, end = ("DELETE", "") if kind == "a revoked key" else ("POST", "/disable")
            await world.send(method, f"/v1/api-keys/{made['id']}{end}")
            return str(made["key"])
        case "a key of a deactivated user":
            user_id = await world.user("administrator")
            made = await world.created(owner_id=user_id, role=None)
            await world.send("POST", f"/v1/users/{user_id}/deactivate")
            return str(made["key"])
        case _:
            made = await world.created(role="administrator", expires_at="2026-11-24T06:00:01Z")
            await world.clock.sleep(1)
            return str(made["key"])


def named(route: Route) -> str:
    return f"{route.method} {route.path}"


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("route", OURS, ids=named)
async def test_no_route_opens_to_a_key_that_is_no_good(world: World, route: Route, kind: str) -> None:
    asked, key = await target(world, route), await refused_key(world, kind)
    world.attempts.clear()
    written = (await world.ledger.head()).position
    answered = await world.send(asked.method, asked.path, key=key, json=asked.body)
    assert problem_of(answered, 401) == REFUSED[kind]
    assert answered.headers["www-authenticate"] == 'Bearer realm="keyledger"'
    assert [attempt.code for attempt in world.attempts] == [REFUSED[kind]]
    assert (await world.ledger.head()).position == written


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("route", OURS, ids=named)
async def test_a_role_opens_what_it_allows_and_nothing_else(world: World, route: Route, role: str) -> None:
    asked, key = await target(world, route), await world.key_of(role)
    permission, body = route.permission or "", asked.body
    if route.path == "/v1/api-keys":  # for somebody whose roles all may hand out that may hand out anything
        body = {"name": "x", "owner_id": await world.user()}
    written = (await world.ledger.head()).position
    answered = await world.send(asked.method, asked.path, key=key, json=body)
    if ROLES[role].allows(permission):
        assert answered.status_code == asked.status, answered.text
        expected = "valid"
    else:
        assert problem_of(answered, 403) == "insufficient-permission"
        assert permission in answered.json()["detail"]
        assert (await world.ledger.head()).position == written
        expected = "insufficient-permission"
    assert world.attempts[-1].code == expected
    assert world.attempts[-1].permission == permission
