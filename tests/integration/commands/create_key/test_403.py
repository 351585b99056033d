"""``POST /v1/api-keys``: nobody hands out more than they may grant."""

import pytest

from tests.integration.commands.world import World, problem_of


@pytest.mark.parametrize("role", ["viewer", "developer"])
async def test_an_api_manager_mints_what_it_grants(world: World, role: str) -> None:
    manager, owner = await world.key_of("api_manager"), await world.user()
    body = {"name": "x", "owner_id": owner, "role": role}
    assert (await world.send("POST", "/v1/api-keys", key=manager, json=body)).status_code == 201


@pytest.mark.parametrize("role", ["administrator", "api_manager"])
async def test_an_api_manager_mints_nothing_above(world: World, role: str) -> None:
    manager, owner = await world.key_of("api_manager"), await world.user()
    body = {"name": "x", "owner_id": owner, "role": role}
    answered = await world.send("POST", "/v1/api-keys", key=manager, json=body)
    assert problem_of(answered, 403) == "not-grantable"


async def test_a_key_without_a_role_counts_as_its_owners_roles(world: World) -> None:
    manager, administrator = await world.key_of("api_manager"), await world.user("administrator")
    body = {"name": "x", "owner_id": administrator}
    answered = await world.send("POST", "/v1/api-keys", key=manager, json=body)
    assert problem_of(answered, 403) == "not-grantable"


async def test_a_manager_cannot_copy_itself(world: World) -> None:
    manager = await world.key_of("api_manager")
    answered = await world.send("POST", "/v1/api-keys", key=manager, json={"name": "x"})
    assert problem_of(answered, 403) == "not-grantable"


async def test_a_key_with_a_role_of_its_own_grants_no_more_than_that(world: World) -> None:
    narrowed = (await world.created(role="api_manager"))["key"]  # of the administrator
    body = {"name": "x", "role": "administrator"}
    answered = await world.send("POST", "/v1/api-keys", key=narrowed, json=body)
    assert problem_of(answered, 403) == "not-grantable"


async def test_a_key_with_a_high_role_grants_no_more_than_its_owner(world: World) -> None:
    lifted = (await world.created(role="administrator", owner_id=await world.user("api_manager")))["key"]
    body = {"name": "x", "role": "administrator", "owner_id": await world.user()}
    answered = await world.send("POST", "/v1/api-keys", key=lifted, json=body)
    assert problem_of(answered, 403) == "not-grantable"
