"""``POST /v1/api-keys/{key_id}/rotate`` with a grace, and ``.../rotate/finish``, which ends it."""

from typing import Any

from tests.integration.commands.world import UNKNOWN_KEY, World, problem_of

MOST_SECONDS = 30 * 24 * 3600


async def rotated(world: World, made: dict[str, Any], grace_seconds: int) -> dict[str, Any]:
    answered = await world.send("POST", f"/v1/api-keys/{made['id']}/rotate", json={"grace_seconds": grace_seconds})
    assert answered.status_code == 200, answered.text
    return dict(answered.json())


def ends(key: dict[str, Any]) -> list[str | None]:
    return [secret["ends_at"] for secret in key["secrets"]]


async def test_the_old_secret_works_until_its_grace_ends(world: World) -> None:
    made = await world.created()
    new = await rotated(world, made, MOST_SECONDS)
    assert ends(new) == [None, "2026-12-24T06:00:00Z"]
    assert new["secrets"][1]["id"] == made["secrets"][0]["id"]
    await world.clock.sleep(MOST_SECONDS - 1)
    assert await world.works(made["key"])
    assert await world.works(new["key"])
    await world.clock.sleep(1)
    answered = await world.send("GET", "/v1/users/user_0", key=made["key"])
    assert problem_of(answered, 401) == "invalid-credential"
    assert await world.works(new["key"])


async def test_a_rotation_during_a_grace_ends_the_oldest_at_once(world: World) -> None:
    first = await world.created()
    second = await rotated(world, first, 3600)
    third = await rotated(world, first, 60)
    assert ends(third) == [None, "2026-11-24T06:01:00Z"]
    assert [await world.works(key["key"]) for key in (first, second, third)] == [False, True, True]


async def test_a_rotation_without_a_grace_ends_every_older_secret(world: World) -> None:
    first = await world.created()
    second = await rotated(world, first, 3600)
    third = await rotated(world, first, 0)
    assert ends(third) == [None]
    assert [await world.works(key["key"]) for key in (first, second, third)] == [False, False, True]


async def test_a_grace_is_ended_early_and_once(world: World) -> None:
    made = await world.created()
    new = await rotated(world, made, 3600)
    answers = [await world.send("POST", f"/v1/api-keys/{made['id']}/rotate/finish") for _ in range(2)]
    assert [answered.status_code for answered in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert (ends(answers[0].json()), answers[0].headers["etag"]) == ([None], '"3"')
    assert answers[0].headers["keyledger-position"] == answers[1].headers["keyledger-position"]
    assert "key" not in answers[0].json()
    assert [await world.works(key["key"]) for key in (made, new)] == [False, True]


async def test_whoever_may_rotate_ends_a_grace_without_the_right_to_grant(world: World) -> None:
    made, manager = await world.created(role="administrator"), await world.key_of("api_manager")
    await rotated(world, made, 3600)
    answered = await world.send("POST", f"/v1/api-keys/{made['id']}/rotate/finish", key=manager)
    assert answered.status_code == 200
    assert not await world.works(made["key"])


async def test_404_and_412_end_no_grace(world: World) -> None:
    made, dead = await world.created(), await world.created()
    await rotated(world, made, 3600)
    await rotated(world, dead, 3600)
    await world.send("DELETE", f"/v1/api-keys/{dead['id']}")
    for key_id in (dead["id"], UNKNOWN_KEY):
        assert problem_of(await world.send("POST", f"/v1/api-keys/{key_id}/rotate/finish"), 404) == "not-found"
    foreign = await world.send("POST", f"/v1/api-keys/{made['id']}/rotate/finish", key=await world.stranger())
    assert problem_of(foreign, 404) == "not-found"
    stale = await world.send("POST", f"/v1/api-keys/{made['id']}/rotate/finish", headers={"If-Match": '"1"'})
    assert problem_of(stale, 412) == "precondition-failed"
    assert await world.works(made["key"])
