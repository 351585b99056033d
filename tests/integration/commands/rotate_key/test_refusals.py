"""``POST /v1/api-keys/{key_id}/rotate``: 403, 404, 412 and 422."""

import pytest

from tests.integration.commands.world import UNKNOWN_KEY, World, pointers, problem_of


@pytest.mark.parametrize("role", ["administrator", "api_manager", None])
async def test_403_or_rotating_a_key_would_steal_it(world: World, role: str | None) -> None:
    made, manager = await world.created(role=role), await world.key_of("api_manager")
    answered = await world.send("POST", f"/v1/api-keys/{made['id']}/rotate", key=manager)
    assert problem_of(answered, 403) == "not-grantable"
    assert await world.works(made["key"])


async def test_404_for_an_unknown_and_a_revoked_key(world: World) -> None:
    made = await world.created()
    await world.send("DELETE", f"/v1/api-keys/{made['id']}")
    for key_id in (made["id"], UNKNOWN_KEY):
        answered = await world.send("POST", f"/v1/api-keys/{key_id}/rotate")
        assert problem_of(answered, 404) == "not-found"


async def test_412_for_another_version(world: World) -> None:
    made = await world.created()
    answered = await world.send("POST", f"/v1/api-keys/{made['id']}/rotate", headers={"If-Match": '"2"'})
    assert problem_of(answered, 412) == "precondition-failed"
    assert await world.works(made["key"])


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [("grace", 60), *[("grace_seconds", seconds) for seconds in (-1, 2_592_001, 1.5, "60", True, None)]],
)
async def test_422_for_a_wish_that_is_not_understood(world: World, wish: str, wanted: object) -> None:
    made = await world.created()
    answered = await world.send("POST", f"/v1/api-keys/{made['id']}/rotate", json={wish: wanted})
    assert pointers(answered) == [f"#/{wish}"]
    assert await world.works(made["key"])
