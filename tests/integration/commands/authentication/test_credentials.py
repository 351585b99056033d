"""What a presented key tells its sender, and what it costs to ask."""

import pytest

from keyledger.domain.events import KeyCreated
from keyledger.domain.identifiers import decode_base62
from keyledger.verification.token import SECRET_BYTES, mint, parse
from keyledger_commands.issuing import Issuer
from tests.integration.commands.world import PEPPERS, World, alike, problem_of

PATH = "/v1/users/user_0000000000000000000000"


async def failing(world: World) -> dict[str, str]:
    """Return one token for each way to fail without a right secret."""
    made, superseded = await world.created(), await world.created()
    await world.send("POST", f"/v1/api-keys/{superseded['id']}/rotate")
    revoked, expired = await world.created(), await world.created(expires_at="2026-11-24T06:00:01Z")
    await world.send("DELETE", f"/v1/api-keys/{revoked['id']}")
    await world.clock.sleep(1)
    token = parse(made["key"])
    assert token is not None
    flipped = made["key"][:-1] + ("a" if made["key"][-1] != "a" else "b")
    wrong = bytes(SECRET_BYTES)
    return {
        "garbage": "hello",
        "a wrong check sum": flipped,
        "an unknown key": mint("dev", world.randomness.resource_id("key"), wrong),
        "a wrong secret": mint("dev", made["id"], wrong),
        "another environment": mint("prod", made["id"], _number(token.secret)),
        "another brand": mint("dev", made["id"], wrong, brand="xx"),
        "a superseded secret": superseded["key"],
        "a revoked key with a wrong secret": mint("dev", revoked["id"], wrong),
        "an expired key with a wrong secret": mint("dev", expired["id"], wrong),
        "a team's id": f"kl_dev_{'0' * 22}_{'0' * 33}",
        "latin": "kl_dev_\xfc",
    }


def _number(secret: bytes) -> bytes:
    return decode_base62(secret.decode()).to_bytes(SECRET_BYTES)


async def test_without_the_right_secret_every_failure_looks_the_same(world: World) -> None:
    tokens = await failing(world)
    answers = {kind: alike(await world.client.get(PATH, headers=_bearer(key))) for kind, key in tokens.items()}
    first = answers["garbage"]
    assert first[0] == 401
    assert first[2]["code"] == "invalid-credential"
    assert {kind for kind, answered in answers.items() if answered != first} == set()


def _bearer(key: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Bearer " + key.encode("latin-1"))]


async def test_an_unknown_key_costs_the_same_questions_as_a_wrong_secret(world: World) -> None:
    made = await world.created()
    asked = []
    for key_id in (made["id"], world.randomness.resource_id("key")):
        world.ledger.loads.clear()
        await world.send("GET", PATH, key=mint("dev", key_id, bytes(SECRET_BYTES)))
        asked.append([len(streams) for streams in world.ledger.loads])
    assert asked == [[1], [1]]


async def test_a_good_key_costs_three_small_questions(world: World) -> None:
    key = await world.key_of("viewer")
    world.ledger.loads.clear()
    await world.send("GET", "/v1/users/nobody", key=key)
    assert [len(streams) for streams in world.ledger.loads] == [1, 2, 1]


async def test_401_tells_the_holder_of_a_right_secret_what_happened(world: World) -> None:
    revoked, expired = await world.created(), await world.created(expires_at="2026-11-24T06:00:01Z")
    await world.send("DELETE", f"/v1/api-keys/{revoked['id']}")
    assert await world.works(expired["key"])
    await world.clock.sleep(1)
    assert problem_of(await world.send("GET", PATH, key=revoked["key"]), 401) == "revoked"
    assert problem_of(await world.send("GET", PATH, key=expired["key"]), 401) == "expired"


@pytest.mark.parametrize("header", ["", "Basic eDp5", "Bearer", "Bearer  ", "kl_dev_x"])
async def test_401_without_a_bearer_token(world: World, header: str) -> None:
    answered = await world.client.get(PATH, headers={"Authorization": header} if header else {})
    assert problem_of(answered, 401) == "missing-credential"


async def test_400_for_two_credentials_of_which_one_is_good(world: World) -> None:
    answered = await world.client.get(PATH, headers=[*_bearer(world.root), *_bearer("other")])
    assert problem_of(answered, 400) == "ambiguous-credential"
    assert [attempt.code for attempt in world.attempts] == ["missing-credential"]


async def test_the_scheme_is_written_in_any_case(world: World) -> None:
    answered = await world.client.get(PATH, headers={"Authorization": f"bearer {world.root}"})
    assert answered.status_code == 404


async def test_a_key_of_an_owner_that_is_not_there_opens_nothing(world: World) -> None:
    issued = Issuer(PEPPERS, world.randomness).issue(world.organization_id, "key_" + "1" * 22, "dev")
    event = KeyCreated(
        organization_id=world.organization_id,
        key_id="key_" + "1" * 22,
        type="personal",
        owner_type="user",
        owner_id="user_" + "1" * 22,
        name="x",
        description="",
        role="administrator",
        environment="dev",
        expires_at=None,
        secret=issued.secret,
    )
    await world.write(event.key_id, event)
    assert problem_of(await world.send("GET", PATH, key=issued.token), 401) == "invalid-credential"


async def test_a_role_that_changes_holds_at_the_next_request(world: World) -> None:
    key = await world.key_of("viewer")
    body = {"name": "x"}
    assert (await world.send("POST", "/v1/teams", key=key, json=body)).status_code == 403
    await world.write(f"{world.organization_id}/role/viewer", world.role("viewer", ["teams:create"], []))
    assert (await world.send("POST", "/v1/teams", key=key, json=body)).status_code == 201
