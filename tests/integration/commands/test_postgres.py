"""The service over Postgres: what a database of its own kind could do differently."""

import asyncio

import pytest

from tests.integration.commands.world import World, pointers, problem_of

pytestmark = pytest.mark.postgres


async def test_a_keys_life(postgres_world: World) -> None:
    world = postgres_world
    made = await world.created(name="\U0001f511 ключ", expires_at="9999-12-31T23:59:59.999999Z")
    path = f"/v1/api-keys/{made['id']}"
    changed = (await world.send("PATCH", path, json={"expires_at": None}, headers={"If-Match": '"1"'})).json()
    assert (changed["name"], changed["expires_at"], changed["version"]) == ("\U0001f511 ключ", None, 2)
    rotated = (await world.send("POST", f"{path}/rotate")).json()
    assert await world.works(rotated["key"])
    assert not await world.works(made["key"])
    assert (await world.send("DELETE", path)).status_code == 204
    assert problem_of(await world.send("DELETE", path), 404) == "not-found"


async def test_what_the_database_cannot_keep_is_refused_before_it(postgres_world: World) -> None:
    assert pointers(await postgres_world.send("POST", "/v1/users", json={"name": "a\u0000b"})) == ["#/name"]
    user_id = await postgres_world.owner("/v1/users", email="ada@example.com")
    assert (await postgres_world.send("GET", f"/v1/users/{user_id}")).json()["email"] == "ada@example.com"


async def test_many_changes_of_one_key_at_once_lose_none(postgres_world: World) -> None:
    made = await postgres_world.created()
    path = f"/v1/api-keys/{made['id']}"
    answers = await asyncio.gather(
        *(postgres_world.send("PATCH", path, json={"name": f"name {number}"}) for number in range(8))
    )
    done = [answered for answered in answers if answered.status_code == 200]
    assert {answered.status_code for answered in answers} <= {200, 409}
    versions = sorted(int(answered.headers["etag"].strip('"')) for answered in done)
    assert versions == list(range(2, len(done) + 2))


async def test_many_creations_at_once_are_all_made(postgres_world: World) -> None:
    made = await asyncio.gather(*(postgres_world.created() for _ in range(32)))
    assert len({one["id"] for one in made}) == 32
