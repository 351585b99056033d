"""``DELETE /v1/roles/{role}``: only what nobody has, whoever is how fast."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from keyledger.domain.events import RoleClosed, RoleDeleted, TeamCreated
from keyledger.domain.identifiers import role_stream
from keyledger.eventstore.port import Append, LedgerUnavailable
from tests.integration.commands.world import World, pointers, problem_of

LEDGERS = ["memory", "sqlite"]
ROLE = "/v1/roles/deployer"


@pytest.fixture
async def world(world: World) -> World:
    await world.defined("deployer", "agents:*")
    return world


async def delete(world: World, **more: Any) -> int:
    return (await world.send("DELETE", ROLE, **more)).status_code


async def in_use(world: World) -> str:
    """Return what a deletion says the role is used by."""
    answered = await world.send("DELETE", ROLE)
    assert problem_of(answered, 409) == "role-in-use"
    return str(answered.json()["detail"])


async def test_204_and_it_is_gone(world: World) -> None:
    assert await delete(world) == 204
    assert problem_of(await world.send("GET", ROLE), 404) == "not-found"
    assert "deployer" not in [role["id"] for role in (await world.send("GET", "/v1/roles?limit=4")).json()["data"]]
    assert problem_of(await world.send("DELETE", ROLE), 404) == "not-found"
    answered = await world.send("POST", "/v1/api-keys", json={"name": "x", "role": "deployer"})
    assert pointers(answered) == ["#/role"]


async def test_pages_pass_over_deleted_roles(world: World) -> None:
    for number in range(4):
        await world.defined(f"a{number}")
        assert (await world.send("DELETE", f"/v1/roles/a{number}")).status_code == 204
    page = (await world.send("GET", "/v1/roles?limit=2")).json()
    assert [role["id"] for role in page["data"]] == ["administrator", "api_manager"]
    assert page["next_cursor"] is not None


async def test_its_id_may_be_defined_anew_and_begins_a_new_life(world: World) -> None:
    await delete(world)
    await world.clock.sleep(60)
    made = await world.send("POST", "/v1/roles", json={"id": "deployer", "name": "new", "permissions": []})
    assert made.status_code == 201
    assert (made.json()["created_at"], made.json()["permissions"]) == ("2026-11-24T06:01:00Z", [])
    assert await delete(world) == 204


async def test_a_repeated_deletion_is_carried_out_once(world: World) -> None:
    headers = {"Idempotency-Key": "once"}
    assert await delete(world, headers=headers) == 204
    await world.defined("deployer")
    answered = await world.send("DELETE", ROLE, headers=headers)
    assert (answered.status_code, answered.headers["idempotency-replayed"]) == (204, "true")
    assert (await world.send("GET", ROLE)).status_code == 200


@pytest.mark.parametrize("role", ["viewer", "administrator"])
async def test_409_for_a_builtin_role(world: World, role: str) -> None:
    assert problem_of(await world.send("DELETE", f"/v1/roles/{role}"), 409) == "builtin-role"


async def test_412_where_it_has_changed_since(world: World) -> None:
    await world.send("PATCH", ROLE, json={"name": "newer"})
    stale = await world.send("DELETE", ROLE, headers={"If-Match": '"1"'})
    assert problem_of(stale, 412) == "precondition-failed"
    assert await delete(world, headers={"If-Match": '"2"'}) == 204


async def test_another_organizations_use_of_the_same_id_is_none(world: World) -> None:
    stranger = await world.stranger()
    body = {"id": "deployer", "name": "x", "permissions": []}
    assert (await world.send("POST", "/v1/roles", key=stranger, json=body)).status_code == 201
    made = await world.send("POST", "/v1/users", key=stranger, json={"name": "x", "role": "deployer"})
    assert made.status_code == 201
    assert await delete(world) == 204
    assert problem_of(await world.send("DELETE", ROLE, key=stranger), 409) == "role-in-use"


async def test_409_says_which_users_keys_and_roles_name_it_and_how_many(world: World) -> None:
    user = await world.user("deployer")
    keys = sorted([str((await world.created(role="deployer"))["id"]) for _ in range(6)])
    await world.defined("lead", grants=["deployer"])
    said = await in_use(world)
    assert f"1 users ({user})" in said
    assert f"6 keys ({', '.join(keys[:5])}, ...)" in said
    assert "1 roles that may hand it out (lead)" in said


async def test_409_leaves_the_role_as_it_was(world: World) -> None:
    key = await world.created(role="deployer")
    before = (await world.send("GET", ROLE)).json()
    await in_use(world)
    after = (await world.send("GET", ROLE)).json()
    assert {**after, "version": 0, "updated_at": ""} == {**before, "version": 0, "updated_at": ""}
    assert await world.works(str((await world.created(role="administrator"))["key"]))
    assert (await world.send("PATCH", f"/v1/api-keys/{key['id']}", json={"name": "y"})).status_code == 200
    await world.created(role="deployer")


async def test_what_is_over_uses_no_role(world: World) -> None:
    user = await world.user("viewer")
    revoked, moved = await world.created(role="deployer"), await world.created(role="deployer")
    await world.created(role="deployer", owner_id=user)  # dies with its owner
    await world.defined("lead", grants=["deployer"])
    await world.send("DELETE", f"/v1/api-keys/{revoked['id']}")
    await world.send("PATCH", f"/v1/api-keys/{moved['id']}", json={"role": "viewer"})
    await world.send("POST", f"/v1/users/{user}/deactivate")
    await world.send("PATCH", "/v1/roles/lead", json={"grants": []})
    assert await delete(world) == 204


async def test_what_may_come_back_uses_its_role(world: World) -> None:
    user = await world.user("deployer")
    await world.send("POST", f"/v1/users/{user}/deactivate")
    assert user in await in_use(world)


async def test_an_expired_key_uses_its_role_since_its_expiry_can_be_moved(world: World) -> None:
    key = await world.created(role="deployer", expires_at="2026-11-24T06:00:01Z")
    await world.clock.sleep(2)
    assert key["id"] in await in_use(world)


async def test_a_key_that_got_the_role_later_uses_it(world: World) -> None:
    key = await world.created(role="viewer")
    await world.send("PATCH", f"/v1/api-keys/{key['id']}", json={"role": "deployer"})
    assert key["id"] in await in_use(world)


async def test_the_one_use_is_found_among_thousands_of_events_that_say_the_same_word(world: World) -> None:
    async def team() -> None:
        team_id = world.randomness.resource_id("team")
        await world.write(team_id, TeamCreated(organization_id=world.organization_id, team_id=team_id, name="deployer"))

    await asyncio.gather(*(team() for _ in range(1500)))
    key = await world.created(role="deployer")
    await asyncio.gather(*(team() for _ in range(1500)))
    assert f"named by 1 keys ({key['id']})" in await in_use(world)
    await world.send("DELETE", f"/v1/api-keys/{key['id']}")
    assert await delete(world) == 204


async def _key(twin: World) -> int:
    return (await twin.send("POST", "/v1/api-keys", json={"name": "x", "role": "deployer"})).status_code


async def _user(twin: World) -> int:
    return (await twin.send("POST", "/v1/users", json={"name": "x", "role": "deployer"})).status_code


async def _grant(twin: World) -> int:
    body = {"id": "lead", "name": "x", "permissions": [], "grants": ["deployer"]}
    return (await twin.send("POST", "/v1/roles", json=body)).status_code


@pytest.mark.parametrize("use", [_key, _user, _grant])
async def test_while_it_is_looked_for_nobody_gets_the_role(
    world: World, use: Callable[[World], Awaitable[int]]
) -> None:
    twin, stream = world.twin(), role_stream(world.organization_id, "deployer")
    got: list[int] = []

    async def meanwhile(append: Append) -> None:
        if append.stream == stream and append.events[0].type == RoleClosed.__name__:
            got.append(await use(twin))

    world.ledger.after_append = meanwhile
    assert await delete(world) == 204
    assert got == [422]


@pytest.mark.parametrize("use", [_key, _user, _grant])
async def test_of_a_use_that_is_written_just_before_the_closing_the_deletion_hears(
    world: World, use: Callable[[World], Awaitable[int]]
) -> None:
    twin = world.twin()

    async def meanwhile(_: Append) -> None:
        world.ledger.before_append = None
        assert await use(twin) == 201

    world.ledger.before_append = meanwhile
    await in_use(world)


@pytest.mark.parametrize("use", [_key, _user, _grant])
async def test_a_use_that_was_decided_before_a_deletion_is_not_written_after_it(
    world: World, use: Callable[[World], Awaitable[int]]
) -> None:
    twin = world.twin()
    await twin.send("GET", ROLE)  # now it remembers the role
    assert await delete(world) == 204
    assert await use(twin) == 422
    stream = role_stream(world.organization_id, "deployer")
    assert any(append.guards.get(stream) == 1 for append in twin.ledger.appends), "it was decided, and refused"


async def broken_off(world: World) -> None:
    """Begin a deletion that does not get beyond the closing."""

    async def fail(append: Append) -> None:
        if append.events and append.events[0].type == RoleDeleted.__name__:
            world.ledger.before_append = None
            raise LedgerUnavailable("gone")

    world.ledger.before_append = fail
    assert await delete(world) == 503


async def test_a_deletion_that_was_broken_off_is_finished_by_another(world: World) -> None:
    await broken_off(world)
    assert (await world.send("GET", ROLE)).json()["status"] == "closed"
    assert pointers(await world.send("POST", "/v1/api-keys", json={"name": "x", "role": "deployer"})) == ["#/role"]
    assert await delete(world) == 204


async def test_a_deletion_that_was_broken_off_takes_nothing_from_who_has_the_role(world: World) -> None:
    await world.defined("builder", "teams:create")
    key = (await world.created(role="builder"))["key"]

    async def fail(append: Append) -> None:
        if append.events and append.events[0].type == RoleClosed.__name__:
            world.ledger.after_append = None
            raise LedgerUnavailable("gone")

    world.ledger.after_append = fail
    assert (await world.send("DELETE", "/v1/roles/builder")).status_code == 503
    assert (await world.send("GET", "/v1/roles/builder")).json()["status"] == "closed"
    assert (await world.send("POST", "/v1/teams", key=key, json={"name": "x"})).status_code == 201
    assert problem_of(await world.send("DELETE", "/v1/roles/builder"), 409) == "role-in-use"
    assert (await world.send("GET", "/v1/roles/builder")).json()["status"] == "active"


async def test_a_deletion_that_was_broken_off_is_undone_by_a_change(world: World) -> None:
    await broken_off(world)
    assert (await world.send("PATCH", ROLE, json={})).json()["status"] == "active"
    await world.created(role="deployer")


async def test_409_where_somebody_opens_it_again_meanwhile(world: World) -> None:
    twin = world.twin()

    async def open_again(append: Append) -> None:
        if append.events and append.events[0].type == RoleDeleted.__name__:
            world.ledger.before_append = None
            assert (await twin.send("PATCH", ROLE, json={})).status_code == 200

    world.ledger.before_append = open_again
    assert problem_of(await world.send("DELETE", ROLE), 409) == "conflict"
    await world.created(role="deployer")
