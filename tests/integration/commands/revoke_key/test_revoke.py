"""``DELETE /v1/api-keys/{key_id}``: 204, 404 and 412."""

import pytest

from tests.integration.commands.world import UNKNOWN_KEY, World, alike, problem_of

LEDGERS = ["memory", "sqlite"]


async def test_204_and_the_key_is_dead(world: World) -> None:
    made = await world.created()
    answered = await world.send("DELETE", f"/v1/api-keys/{made['id']}")
    assert (answered.status_code, answered.content) == (204, b"")
    assert answered.headers["etag"] == '"2"'
    assert answered.headers["keyledger-position"]
    refused = await world.send("GET", "/v1/users/user_0", key=made["key"])
    assert problem_of(refused, 401) == "revoked"


@pytest.mark.parametrize("role", ["administrator", None])
async def test_204_for_a_key_above_the_caller(world: World, role: str | None) -> None:
    made, manager = await world.created(role=role), await world.key_of("api_manager")
    assert (await world.send("DELETE", f"/v1/api-keys/{made['id']}", key=manager)).status_code == 204


async def test_404_ever_after(world: World) -> None:
    path = f"/v1/api-keys/{(await world.created())['id']}"
    await world.send("DELETE", path)
    for answered in (
        await world.send("DELETE", path),
        await world.send("PATCH", path, json={"name": "x"}),
        await world.send("POST", f"{path}/rotate"),
    ):
        assert problem_of(answered, 404) == "not-found"


async def test_404_of_a_foreign_key_is_the_one_of_an_unknown_key(world: World) -> None:
    made = await world.created(role="viewer")
    stranger = await world.stranger()
    paths = [made["id"], UNKNOWN_KEY, "key_", "nonsense", "%00", "x" * 3000]
    for method, end in (("DELETE", ""), ("PATCH", ""), ("POST", "/rotate")):
        answers = [
            alike(
                await world.send(
                    method, f"/v1/api-keys/{path}{end}", key=stranger, json={"name": "x"} if method == "PATCH" else None
                )
            )
            for path in paths
        ]
        assert answers[0][0] == 404
        assert all(answered == answers[0] for answered in answers)
    assert await world.works(made["key"])


async def test_412_for_another_version(world: World) -> None:
    made = await world.created()
    answered = await world.send("DELETE", f"/v1/api-keys/{made['id']}", headers={"If-Match": '"2"'})
    assert problem_of(answered, 412) == "precondition-failed"
    answered = await world.send("DELETE", f"/v1/api-keys/{made['id']}", headers={"If-Match": '"1"'})
    assert answered.status_code == 204


async def test_a_key_may_end_itself(world: World) -> None:
    me = await world.created(role="api_manager")
    assert (await world.send("DELETE", f"/v1/api-keys/{me['id']}", key=me["key"])).status_code == 204
    assert not await world.works(me["key"])
