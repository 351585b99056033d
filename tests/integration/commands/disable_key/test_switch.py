"""``POST /v1/api-keys/{key_id}/disable`` and ``.../enable``."""

import pytest

from tests.integration.commands.world import UNKNOWN_KEY, World, problem_of

LEDGERS = ["memory", "sqlite"]


async def test_a_disabled_key_is_refused_until_it_is_enabled(world: World) -> None:
    made = await world.created()
    path = f"/v1/api-keys/{made['id']}"
    await world.clock.sleep(60)
    disabled = (await world.send("POST", f"{path}/disable")).json()
    assert (disabled["status"], disabled["disabled_at"]) == ("disabled", "2026-11-24T06:01:00Z")
    refused = await world.send("GET", "/v1/users/user_0", key=made["key"])
    assert problem_of(refused, 401) == "disabled"
    assert world.attempts[-1].code == "disabled"
    enabled = (await world.send("POST", f"{path}/enable")).json()
    assert (enabled["status"], enabled["disabled_at"], enabled["version"]) == ("active", None, 3)
    assert await world.works(made["key"])


async def test_to_everybody_without_its_secret_a_disabled_key_is_like_any_other(world: World) -> None:
    made, other = await world.created(), await world.created()
    await world.send("POST", f"/v1/api-keys/{made['id']}/disable")
    guess = made["key"][:-33] + other["key"][-33:]
    assert problem_of(await world.send("GET", "/v1/users/user_0", key=guess), 401) == "invalid-credential"


@pytest.mark.parametrize("action", ["disable", "enable"])
async def test_what_a_key_is_already_it_does_not_become_again(world: World, action: str) -> None:
    path = f"/v1/api-keys/{(await world.created())['id']}"
    await world.send("POST", f"{path}/disable")
    first, second = [await world.send("POST", f"{path}/{action}") for _ in range(2)]
    assert (first.status_code, second.status_code) == (200, 200)
    assert first.content == second.content
    assert first.headers["keyledger-position"] == second.headers["keyledger-position"]


@pytest.mark.parametrize("role", ["administrator", None])
async def test_whoever_manages_keys_disables_any_and_enables_what_they_could_make(
    world: World, role: str | None
) -> None:
    made, manager = await world.created(role=role), await world.key_of("api_manager")
    path = f"/v1/api-keys/{made['id']}"
    assert (await world.send("POST", f"{path}/disable", key=manager)).status_code == 200
    assert problem_of(await world.send("POST", f"{path}/enable", key=manager), 403) == "not-grantable"
    assert not await world.works(made["key"])


async def test_404_and_412_change_nothing(world: World) -> None:
    made, dead = await world.created(), await world.created()
    await world.send("DELETE", f"/v1/api-keys/{dead['id']}")
    stranger = await world.stranger()
    for action in ("disable", "enable"):
        for key_id, by in ((dead["id"], None), (UNKNOWN_KEY, None), (made["id"], stranger)):
            answered = await world.send("POST", f"/v1/api-keys/{key_id}/{action}", key=by)
            assert problem_of(answered, 404) == "not-found"
        stale = await world.send("POST", f"/v1/api-keys/{made['id']}/{action}", headers={"If-Match": '"2"'})
        assert problem_of(stale, 412) == "precondition-failed"
    assert await world.works(made["key"])
