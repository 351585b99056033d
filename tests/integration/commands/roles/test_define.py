"""``POST /v1/roles`` and ``PATCH /v1/roles/{role}``: 200, 201 and their refusals."""

from typing import Any

import pytest

from keyledger.domain.identifiers import role_stream
from keyledger.eventstore.port import Append
from tests.integration.commands.world import World, pointers, problem_of

LEDGERS = ["memory", "sqlite"]

DEPLOYER = {
    "id": "deployer",
    "name": " Deployer ",
    "permissions": ["agents:*", "*:read", "*:read"],
    "grants": ["viewer"],
}
ROLE_ADMIN = ("*:read", "roles:*", "api-keys:create", "agents:update")


async def role_admin(world: World, *grants: str) -> str:
    """Return the token of somebody who manages roles and is no administrator."""
    await world.defined("role_admin", *ROLE_ADMIN, grants=grants)
    return await world.key_of("role_admin")


async def test_201_with_all_that_was_asked_for_each_once(world: World) -> None:
    answered = await world.send("POST", "/v1/roles", json=DEPLOYER)
    assert answered.status_code == 201
    assert (answered.headers["etag"], answered.headers["location"]) == ('"1"', "/v1/roles/deployer")
    assert answered.json() == {
        "id": "deployer",
        "organization_id": world.organization_id,
        "name": "Deployer",
        "permissions": ["*:read", "agents:*"],
        "grants": ["viewer"],
        "builtin": False,
        "status": "active",
        "created_at": "2026-11-24T06:00:00Z",
        "updated_at": "2026-11-24T06:00:00Z",
        "version": 1,
    }
    read = await world.send("GET", "/v1/roles/deployer")
    assert read.json() == answered.json()


async def test_keys_and_users_get_the_role_at_once(world: World) -> None:
    await world.defined("roster", "users:create", "*:read", grants=["viewer"])
    by_user, by_key = await world.key_of("roster"), (await world.created(role="roster"))["key"]
    for key in (by_user, by_key):
        assert (await world.send("POST", "/v1/users", key=key, json={"name": "x"})).status_code == 201
        refused = await world.send("POST", "/v1/teams", key=key, json={"name": "x"})
        assert problem_of(refused, 403) == "insufficient-permission"


async def test_a_change_reaches_keys_that_exist_already_at_once(world: World) -> None:
    await world.defined("builder", "teams:create")
    key = await world.key_of("builder")
    assert (await world.send("POST", "/v1/teams", key=key, json={"name": "x"})).status_code == 201
    changed = await world.send("PATCH", "/v1/roles/builder", json={"permissions": ["teams:read"]})
    assert (changed.status_code, changed.json()["permissions"], changed.json()["name"]) == (
        200,
        ["teams:read"],
        "builder",
    )
    refused = await world.send("POST", "/v1/teams", key=key, json={"name": "x"})
    assert problem_of(refused, 403) == "insufficient-permission"


async def test_a_change_meanwhile_takes_the_right_of_a_write_that_was_judged_before_it(world: World) -> None:
    await world.defined("builder", "teams:create")
    key, twin = await world.key_of("builder"), world.twin()
    await world.send("POST", "/v1/teams", key=key, json={"name": "x"})  # its right is remembered now

    async def narrow(_: Append) -> None:
        world.ledger.before_append = None
        assert (await twin.send("PATCH", "/v1/roles/builder", json={"permissions": []})).status_code == 200

    world.ledger.before_append = narrow
    refused = await world.send("POST", "/v1/teams", key=key, json={"name": "x"})
    assert problem_of(refused, 403) == "insufficient-permission"


async def test_a_repeated_definition_is_carried_out_once(world: World) -> None:
    headers = {"Idempotency-Key": "once"}
    first = await world.send("POST", "/v1/roles", json=DEPLOYER, headers=headers)
    again = await world.send("POST", "/v1/roles", json=DEPLOYER, headers=headers)
    assert (again.status_code, again.json(), again.headers["idempotency-replayed"]) == (201, first.json(), "true")


async def test_409_for_an_id_that_is_taken(world: World) -> None:
    await world.defined("custom")
    for taken in ("custom", "viewer", "administrator"):
        answered = await world.send("POST", "/v1/roles", json={**DEPLOYER, "id": taken})
        assert problem_of(answered, 409) == "role-exists"


@pytest.mark.parametrize("role", ["viewer", "developer", "administrator", "api_manager"])
async def test_409_for_a_change_of_a_builtin_role(world: World, role: str) -> None:
    answered = await world.send("PATCH", f"/v1/roles/{role}", json={"permissions": []})
    assert problem_of(answered, 409) == "builtin-role"


async def test_412_for_a_change_of_what_has_changed_since(world: World) -> None:
    await world.defined("custom")
    change = {"name": "new"}
    assert (await world.send("PATCH", "/v1/roles/custom", json=change, headers={"If-Match": '"1"'})).status_code == 200
    stale = await world.send("PATCH", "/v1/roles/custom", json={"name": "newer"}, headers={"If-Match": '"1"'})
    assert problem_of(stale, 412) == "precondition-failed"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"id": "Upper"}, "#/id"),
        ({"id": "*"}, "#/id"),
        ({"id": "with:colon"}, "#/id"),
        ({"name": "  "}, "#/name"),
        ({"permissions": ["agents"]}, "#/permissions/0"),
        ({"permissions": ["a:b", "a:b:c"]}, "#/permissions/1"),
        ({"permissions": ["a*:b"]}, "#/permissions/0"),
        ({"permissions": ["a:b"] * 201}, "#/permissions"),
        ({"permissions": None}, "#/permissions"),
        ({"grants": ["*:*"]}, "#/grants/0"),
        ({"grants": ["nobody"]}, "#/grants"),
        ({"builtin": True}, "#/builtin"),
    ],
)
async def test_422_points_to_what_is_wrong(world: World, change: dict[str, Any], pointer: str) -> None:
    assert pointers(await world.send("POST", "/v1/roles", json={**DEPLOYER, **change})) == [pointer]


async def test_422_for_a_key_or_user_with_a_role_that_is_not_there(world: World) -> None:
    answered = await world.send("POST", "/v1/api-keys", json={"name": "x", "role": "nobody"})
    assert pointers(answered) == ["#/role"]
    assert answered.json()["errors"][0]["detail"] == "there is no such role"
    answered = await world.send("POST", "/v1/users", json={"name": "x", "roles": ["viewer", "nobody"]})
    assert pointers(answered) == ["#/roles"]
    assert "nobody" in answered.json()["errors"][0]["detail"]


@pytest.mark.parametrize(
    "permissions", [["*:*"], ["agents:*"], ["*:update"], ["agents:delete"], ["*:read", "users:create"]]
)
async def test_403_for_a_permission_that_the_caller_has_not(world: World, permissions: list[str]) -> None:
    key = await role_admin(world)
    body = {"id": "more", "name": "x", "permissions": permissions}
    assert problem_of(await world.send("POST", "/v1/roles", key=key, json=body), 403) == "not-grantable"
    await world.defined("narrow")
    change = {"permissions": permissions}
    assert problem_of(await world.send("PATCH", "/v1/roles/narrow", key=key, json=change), 403) == "not-grantable"
    own = await world.send("PATCH", "/v1/roles/role_admin", key=key, json=change)
    assert problem_of(own, 403) == "not-grantable"


@pytest.mark.parametrize("grants", [["*"], ["administrator"], ["*:unprivileged"], ["more"]])
async def test_403_for_a_grant_that_the_caller_has_not(world: World, grants: list[str]) -> None:
    key = await role_admin(world, "viewer")
    body = {"id": "more", "name": "x", "permissions": [], "grants": grants}
    assert problem_of(await world.send("POST", "/v1/roles", key=key, json=body), 403) == "not-grantable"


async def test_who_is_no_administrator_gives_what_they_have(world: World) -> None:
    key = await role_admin(world, "viewer")
    body = {"id": "fine", "name": "x", "permissions": ["agents:read", "roles:*", "agents:update"], "grants": ["viewer"]}
    assert (await world.send("POST", "/v1/roles", key=key, json=body)).status_code == 201


async def test_who_has_less_than_a_role_may_take_from_it_and_keep_the_rest(world: World) -> None:
    key = await role_admin(world)
    await world.defined("strong", "agents:*", "users:*", grants=["*"])
    kept = {"name": "less", "permissions": ["agents:delete", "users:*"]}
    assert (await world.send("PATCH", "/v1/roles/strong", key=key, json=kept)).status_code == 200
    back = {"permissions": ["agents:*", "users:*"]}
    assert problem_of(await world.send("PATCH", "/v1/roles/strong", key=key, json=back), 403) == "not-grantable"


async def test_an_api_manager_hands_out_a_custom_role_as_long_as_it_manages_nothing(world: World) -> None:
    manager, owner = await world.key_of("api_manager"), await world.owner()
    await world.defined("deployer", "agents:*", "*:read")
    body = {"name": "x", "type": "team", "owner_id": owner, "role": "deployer"}
    made = await world.send("POST", "/v1/api-keys", key=manager, json=body)
    assert made.status_code == 201
    await world.send("PATCH", "/v1/roles/deployer", json={"permissions": ["agents:*", "api-keys:create"]})
    assert problem_of(await world.send("POST", "/v1/api-keys", key=manager, json=body), 403) == "not-grantable"
    rotated = await world.send("POST", f"/v1/api-keys/{made.json()['id']}/rotate", key=manager)
    assert problem_of(rotated, 403) == "not-grantable"


async def test_a_creation_that_a_change_of_its_role_overtakes_is_judged_anew(world: World) -> None:
    manager, owner, twin = await world.key_of("api_manager"), await world.owner(), world.twin()
    await world.defined("deployer", "agents:*")

    async def widen(_: Append) -> None:
        world.ledger.before_append = None
        assert (await twin.send("PATCH", "/v1/roles/deployer", json={"permissions": ["*:*"]})).status_code == 200

    world.ledger.before_append = widen
    body = {"name": "x", "type": "team", "owner_id": owner, "role": "deployer"}
    assert problem_of(await world.send("POST", "/v1/api-keys", key=manager, json=body), 403) == "not-grantable"


async def test_another_organizations_role_of_the_same_id_is_another_role(world: World) -> None:
    stranger = await world.stranger()
    await world.defined("deployer", "agents:*")
    answered = await world.send("PATCH", "/v1/roles/deployer", key=stranger, json={"name": "mine"})
    assert problem_of(answered, 404) == "not-found"
    assert (await world.send("POST", "/v1/roles", key=stranger, json=DEPLOYER)).status_code == 201
    assert (await world.ledger.load([role_stream(world.organization_id, "deployer")])).popitem()[1][
        -1
    ].header.version == 1
