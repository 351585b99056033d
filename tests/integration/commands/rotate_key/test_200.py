"""``POST /v1/api-keys/{key_id}/rotate``: the same key, another secret."""

from typing import Any

import pytest

from tests.integration.commands.world import World

LEDGERS = ["memory", "sqlite"]


async def test_the_id_stays_and_the_old_secret_is_dead(world: World) -> None:
    made = await world.created(environment="staging")
    await world.clock.sleep(60)
    answered = await world.send("POST", f"/v1/api-keys/{made['id']}/rotate")
    rotated = answered.json()
    assert answered.status_code == 200
    assert answered.headers["etag"] == '"2"'
    assert (rotated["id"], rotated["version"], rotated["environment"]) == (made["id"], 2, "staging")
    assert rotated["rotated_at"] == rotated["updated_at"] == "2026-11-24T06:01:00Z"
    assert rotated["key"] != made["key"]
    assert await world.works(rotated["key"])
    assert not await world.works(made["key"])


async def test_to_the_holder_of_the_old_secret_it_never_existed(world: World) -> None:
    made = await world.created()
    await world.send("POST", f"/v1/api-keys/{made['id']}/rotate")
    answered = await world.send("GET", "/v1/users/user_0", key=made["key"])
    assert answered.json()["code"] == "invalid-credential"


@pytest.mark.parametrize("body", [{}, {"json": {}}])
async def test_a_body_may_be_left_out(world: World, body: dict[str, Any]) -> None:
    made = await world.created()
    assert (await world.send("POST", f"/v1/api-keys/{made['id']}/rotate", **body)).status_code == 200


async def test_a_key_may_rotate_itself_if_it_may_grant_what_it_is(world: World) -> None:
    me = await world.created(role="administrator")
    rotated = await world.send("POST", f"/v1/api-keys/{me['id']}/rotate", key=me["key"])
    assert rotated.status_code == 200
    assert await world.works(rotated.json()["key"])
