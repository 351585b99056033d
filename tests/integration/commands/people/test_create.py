"""``POST /v1/users``, ``/v1/teams`` and ``/v1/service-accounts``: 201, 403 and 422."""

from typing import Any

import pytest

from tests.integration.commands.world import World, pointers, problem_of


async def test_201_a_user_by_a_name_alone_is_a_viewer(world: World) -> None:
    answered = await world.send("POST", "/v1/users", json={"name": " Ada "})
    made = answered.json()
    assert answered.status_code == 201
    assert answered.headers["etag"] == '"1"'
    assert answered.headers["location"] == f"/v1/users/{made['id']}"
    assert made == {
        "id": made["id"],
        "organization_id": world.organization_id,
        "name": "Ada",
        "email": None,
        "roles": ["viewer"],
        "status": "active",
        "created_at": "2026-11-24T06:00:00Z",
        "deactivated_at": None,
        "version": 1,
    }


async def test_201_a_user_with_several_roles_has_them_all(world: World) -> None:
    roles = ["viewer", "api_manager"]
    user_id = await world.owner("/v1/users", roles=roles)
    key = (await world.created(owner_id=user_id, role=None))["key"]
    assert (await world.send("POST", "/v1/api-keys", key=key, json={"name": "x", "role": "viewer"})).status_code == 201


async def test_a_persons_name_and_address_are_in_no_event(world: World) -> None:
    answered = await world.send("POST", "/v1/users", json={"name": "Ada Lovelace", "email": "ada@example.com"})
    assert answered.json()["email"] == "ada@example.com"
    for entry in await world.ledger.read(0, limit=1000):
        assert b"Lovelace" not in entry.data
        assert b"ada@" not in entry.data


async def test_201_a_team_and_a_service_account(world: World) -> None:
    team = (await world.send("POST", "/v1/teams", json={"name": "Payments"})).json()
    assert team["name"] == "Payments"
    body = {"name": "nightly export", "description": "Writes\nreports"}
    account = (await world.send("POST", "/v1/service-accounts", json=body)).json()
    assert (account["name"], account["description"]) == ("nightly export", "Writes\nreports")


@pytest.mark.parametrize("roles", [["administrator"], ["viewer", "administrator"], ["api_manager"]])
async def test_403_for_a_user_above_the_caller(world: World, roles: list[str]) -> None:
    await world.write(f"{world.organization_id}/role/personnel", world.role("personnel", ["users:*"], ["viewer"]))
    personnel = await world.key_of("personnel")
    assert (await world.send("POST", "/v1/users", key=personnel, json={"name": "x"})).status_code == 201
    answered = await world.send("POST", "/v1/users", key=personnel, json={"name": "x", "roles": roles})
    assert problem_of(answered, 403) == "not-grantable"


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/v1/users", {}, "#/name"),
        ("/v1/users", {"name": "x", "email": "nowhere"}, "#/email"),
        ("/v1/users", {"name": "x", "email": "a@b\u0000"}, "#/email"),
        ("/v1/users", {"name": "x", "email": "a@b@c"}, "#/email"),
        ("/v1/users", {"name": "x", "email": "a" * 250 + "@b.org"}, "#/email"),
        ("/v1/users", {"name": "x", "roles": []}, "#/roles"),
        ("/v1/users", {"name": "x", "roles": ["king"]}, "#/roles"),
        ("/v1/users", {"name": "x", "role": "king"}, "#/roles"),
        ("/v1/users", {"name": "x", "roles": ["a b"]}, "#/roles/0"),
        ("/v1/users", {"name": "x", "role": "viewer", "roles": ["viewer"]}, "#"),
        ("/v1/users", {"name": "x", "admin": True}, "#/admin"),
        ("/v1/teams", {"name": "a\u0007"}, "#/name"),
        ("/v1/teams", {"name": "x", "description": "x"}, "#/description"),
        ("/v1/service-accounts", {"name": "x", "description": "x" * 1001}, "#/description"),
    ],
)
async def test_422_points_to_what_is_wrong(world: World, path: str, body: dict[str, Any], where: str) -> None:
    before = (await world.ledger.head()).position
    assert pointers(await world.send("POST", path, json=body)) == [where]
    assert (await world.ledger.head()).position == before


async def test_the_longest_name_in_the_widest_letters_can_be_kept(world: World) -> None:
    name = "\U0001f511" * 255
    assert (await world.send("POST", "/v1/users", json={"name": name})).json()["name"] == name
