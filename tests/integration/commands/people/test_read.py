"""``GET /v1/users/{user_id}`` and its like: 200, 400 and 404, straight from the ledger."""

import pytest

from keyledger.web.positions import PositionTokens, position_tokens
from tests.integration.commands.world import PEPPERS, World, alike, problem_of

LEDGERS = ["memory", "sqlite"]

PLACES = {"/v1/users": "user", "/v1/teams": "team", "/v1/service-accounts": "service"}


@pytest.mark.parametrize("path", PLACES)
async def test_200_what_was_made(world: World, path: str) -> None:
    made = await world.send("POST", path, json={"name": "Ada"})
    read = await world.send("GET", made.headers["location"])
    assert read.status_code == 200
    assert read.json() == made.json()
    assert read.headers["etag"] == made.headers["etag"]
    assert read.headers["keyledger-position"] == made.headers["keyledger-position"]  # both are the head


@pytest.mark.parametrize("path", PLACES)
async def test_200_to_head_as_to_get(world: World, path: str) -> None:
    made = await world.send("POST", path, json={"name": "Ada"})
    assert (await world.send("HEAD", made.headers["location"])).headers["etag"] == '"1"'


async def test_an_erased_person_has_no_name(world: World) -> None:
    user_id = await world.owner("/v1/users", email="ada@example.com")
    await world.ledger.erase(user_id)
    read = (await world.send("GET", f"/v1/users/{user_id}")).json()
    assert (read["name"], read["email"], read["roles"]) == (None, None, ["viewer"])


async def test_200_with_the_position_of_any_write_before(world: World) -> None:
    made = await world.send("POST", "/v1/teams", json={"name": "x"})
    headers = {"Keyledger-At-Least": made.headers["keyledger-position"]}
    assert (await world.send("GET", made.headers["location"], headers=headers)).status_code == 200


async def test_400_for_a_position_that_was_never_given_out(world: World) -> None:
    path = f"/v1/teams/{await world.owner()}"
    head = (await world.ledger.head()).position
    ours = position_tokens(world.ledger.store_id, PEPPERS)
    tokens = {
        "beyond the head": ours.write(head + 1),
        "another ledger": position_tokens("ab" * 16, PEPPERS).write(1),
        "forged": PositionTokens(world.ledger.store_id, bytes(32)).write(1),
        "damaged": ours.write(1)[:-1],
        "garbage": "x",
    }
    for token in tokens.values():
        answered = await world.send("GET", path, headers={"Keyledger-At-Least": token})
        assert problem_of(answered, 400) == "invalid-position-token"


@pytest.mark.parametrize(("path", "kind"), PLACES.items())
async def test_404_of_a_foreign_thing_is_the_one_of_an_unknown_thing(world: World, path: str, kind: str) -> None:
    mine, stranger = await world.owner(path), await world.stranger()
    other_kind = await world.owner("/v1/teams" if kind != "team" else "/v1/users")
    ids = [mine, f"{kind}_{'0' * 22}", other_kind, "nonsense", "%00"]
    answers = [alike(await world.send("GET", f"{path}/{id_}", key=stranger)) for id_ in ids]
    assert answers[0][0] == 404
    assert all(answered == answers[0] for answered in answers)
