"""``GET /v1/roles`` and ``GET /v1/roles/{role}``."""

import pytest

from keyledger.web.positions import position_tokens
from tests.integration.commands.world import PEPPERS, World, alike, pointers, problem_of

LEDGERS = ["memory", "sqlite"]
BUILTIN = ["administrator", "api_manager", "developer", "viewer"]


async def ids(world: World, path: str = "/v1/roles") -> list[str]:
    return [role["id"] for role in (await world.send("GET", path)).json()["data"]]


async def test_200_with_builtin_roles_and_ones_own_in_the_order_of_their_ids(world: World) -> None:
    for role in ("zoo", "b-c", "b_c", "b"):
        await world.defined(role)
    assert await ids(world) == ["administrator", "api_manager", "b", "b-c", "b_c", "developer", "viewer", "zoo"]
    page = (await world.send("GET", "/v1/roles")).json()
    assert page["next_cursor"] is None
    assert [role["builtin"] for role in page["data"]] == [role["id"] in BUILTIN for role in page["data"]]
    assert page["data"][0]["permissions"] == ["*:*"]


async def test_pages_lead_through_all_of_them_once(world: World) -> None:
    await world.defined("custom")
    seen, path = [], "/v1/roles?limit=2"
    while True:
        answered = await world.send("GET", path)
        seen += [role["id"] for role in answered.json()["data"]]
        if answered.json()["next_cursor"] is None:
            break
        path = answered.headers["link"].partition(">")[0].removeprefix("<")
    assert seen == ["administrator", "api_manager", "custom", "developer", "viewer"]
    assert "link" not in answered.headers


async def test_a_list_is_never_behind_a_write(world: World) -> None:
    for number in range(3):
        made = await world.send("POST", "/v1/roles", json={"id": f"r{number}", "name": "x", "permissions": []})
        listed = await world.send("GET", "/v1/roles")
        assert f"r{number}" in [role["id"] for role in listed.json()["data"]]
        assert listed.headers["keyledger-position"] == made.headers["keyledger-position"]


async def test_an_organization_sees_its_own_roles_alone(world: World) -> None:
    stranger = await world.stranger()
    await world.defined("custom")
    answered = await world.send("GET", "/v1/roles", key=stranger)
    assert [role["id"] for role in answered.json()["data"]] == BUILTIN
    first = (await world.send("GET", "/v1/roles?limit=1")).json()["next_cursor"]
    foreign = await world.send("GET", f"/v1/roles?cursor={first}", key=stranger)
    assert pointers(foreign) == ["query: cursor"]


async def test_404_of_a_foreign_role_is_the_one_of_an_unknown_one(world: World) -> None:
    stranger = await world.stranger()
    await world.defined("custom")
    answers = [
        alike(await world.send("GET", f"/v1/roles/{id_}", key=stranger))
        for id_ in ("custom", "nobody", "No", "%00", "a%0A")
    ]
    assert answers[0][0] == 404
    assert all(answered == answers[0] for answered in answers)


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "query: limit"),
        ("limit=201", "query: limit"),
        ("limit=x", "query: limit"),
        ("cursor=x", "query: cursor"),
        ("page=2", "query: page"),
        ("limit=1&limit=2", "query: limit"),
    ],
)
async def test_422_for_a_question_that_is_not_clear(world: World, query: str, pointer: str) -> None:
    assert pointers(await world.send("GET", f"/v1/roles?{query}")) == [pointer]


async def test_400_for_a_position_beyond_the_end(world: World) -> None:
    beyond = position_tokens(world.ledger.store_id, PEPPERS).write((await world.ledger.head()).position + 1)
    for path in ("/v1/roles", "/v1/roles/viewer"):
        answered = await world.send("GET", path, headers={"Keyledger-At-Least": beyond})
        assert problem_of(answered, 400) == "invalid-position-token"
