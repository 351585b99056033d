"""``POST /v1/api-keys``: what is refused, and where the answer points to."""

from typing import Any

import pytest

from keyledger.verification.token import mint
from tests.integration.commands.world import World, pointers

TOKEN = mint("dev", "key_0123456789abcdefghijkl", bytes(20))
"""An event keeps a name for ever, and an error is written to logs: a key belongs into neither."""

WRONG: list[tuple[dict[str, Any], list[str]]] = [
    ({}, ["#/name"]),
    ({"name": ""}, ["#/name"]),
    ({"name": " \t "}, ["#/name"]),
    ({"name": " \u3000 "}, ["#/name"]),
    ({"name": "x" * 256}, ["#/name"]),
    ({"name": "a\nb"}, ["#/name"]),
    ({"name": "a\u0000b"}, ["#/name"]),
    ({"name": "a\u0085b"}, ["#/name"]),
    ({"name": f"my key {TOKEN}"}, ["#/name"]),
    ({"name": "x", "description": TOKEN}, ["#/description"]),
    ({"name": "x", TOKEN: "y"}, ["#"]),
    ({"name": None}, ["#/name"]),
    ({"name": 5}, ["#/name"]),
    ({"name": "x", "description": "x" * 1001}, ["#/description"]),
    ({"name": "x", "description": "a\u0000"}, ["#/description"]),
    ({"name": "x", "type": "robot"}, ["#/type"]),
    ({"name": "x", "environment": "test"}, ["#/environment"]),
    ({"name": "x", "role": "king"}, ["#/role"]),
    ({"name": "x", "role": "no such/role"}, ["#/role"]),
    ({"name": "x", "role": ""}, ["#/role"]),
    ({"name": "x", "expires_at": "tomorrow"}, ["#/expires_at"]),
    ({"name": "x", "expires_at": "2027-01-31"}, ["#/expires_at"]),
    ({"name": "x", "expires_at": "2027-01-31T12:00:00"}, ["#/expires_at"]),
    ({"name": "x", "expires_at": "2027-02-30T12:00:00Z"}, ["#/expires_at"]),
    ({"name": "x", "expires_at": "9999-12-31T23:59:59-01:00"}, ["#/expires_at"]),
    ({"name": "x", "expires_at": "0001-01-01T00:00:00+01:00"}, ["#/expires_at"]),
    ({"name": "x", "expires_at": 1801396800}, ["#/expires_at"]),
    ({"name": "x", "expires_at": "2026-11-24T06:00:00Z"}, ["#/expires_at"]),
    ({"name": "x", "expires_at": "2026-11-24T07:59:59+02:00"}, ["#/expires_at"]),
    ({"name": "x", "nmae": "y"}, ["#/nmae"]),
    ({"name": "x", "a/b~c": 1}, ["#/a~1b~0c"]),
    ({"nam": "x", "type": "robot"}, ["#/name", "#/type", "#/nam"]),
    ({"name": "x", "type": "team"}, ["#/owner_id"]),
    ({"name": "x", "type": "service", "role": "viewer"}, ["#/owner_id"]),
]


@pytest.mark.parametrize(("body", "where"), WRONG)
async def test_each_wrong_field_is_pointed_to_and_nothing_is_written(
    world: World, body: dict[str, Any], where: list[str]
) -> None:
    before = (await world.ledger.head()).position
    assert pointers(await world.send("POST", "/v1/api-keys", json=body)) == where
    assert (await world.ledger.head()).position == before


@pytest.mark.parametrize("raw", ['{"name": "\\ud800"}', '{"name": "x", "description": "\\udfff"}', '{"\\ud800": 1}'])
async def test_a_lone_surrogate_is_a_wrong_field(world: World, raw: str) -> None:
    answered = await world.send("POST", "/v1/api-keys", content=raw, headers={"Content-Type": "application/json"})
    assert pointers(answered)


@pytest.mark.parametrize("raw", ["[]", '"x"', "null", "3"])
async def test_a_body_is_an_object(world: World, raw: str) -> None:
    answered = await world.send("POST", "/v1/api-keys", content=raw, headers={"Content-Type": "application/json"})
    assert pointers(answered) == ["#"]


async def test_a_team_key_needs_a_role(world: World) -> None:
    body = {"name": "x", "type": "team", "owner_id": await world.owner("/v1/teams")}
    assert pointers(await world.send("POST", "/v1/api-keys", json=body)) == ["#/role"]


async def test_the_owner_must_be_of_the_kind_that_the_type_asks_for(world: World) -> None:
    body = {"name": "x", "type": "team", "role": "viewer", "owner_id": await world.user()}
    assert pointers(await world.send("POST", "/v1/api-keys", json=body)) == ["#/owner_id"]


async def test_a_foreign_owner_is_like_one_that_does_not_exist(world: World) -> None:
    foreign = (await world.foreign()).user_id
    answers = [
        await world.send("POST", "/v1/api-keys", json={"name": "x", "owner_id": owner_id})
        for owner_id in (foreign, "user_0000000000000000000000", "nonsense", "user_\u0000", "x" * 5000)
    ]
    assert {tuple(pointers(answered)) for answered in answers} == {("#/owner_id",)}
    assert len({answered.json()["errors"][0]["detail"] for answered in answers}) == 1


async def test_who_is_no_user_must_name_the_owner(world: World) -> None:
    service = await world.owner("/v1/service-accounts")
    key = (await world.created(type="service", owner_id=service, role="administrator"))["key"]
    assert pointers(await world.send("POST", "/v1/api-keys", key=key, json={"name": "x"})) == ["#/owner_id"]


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü"])
async def test_an_idempotency_key_is_printable_ascii(world: World, key: str) -> None:
    headers = [(b"idempotency-key", key.encode("latin-1")), (b"authorization", f"Bearer {world.root}".encode())]
    answered = await world.client.post("/v1/api-keys", json={"name": "x"}, headers=headers)
    assert pointers(answered) == ["header: Idempotency-Key"]


async def test_no_refusal_repeats_what_was_sent(world: World) -> None:
    answered = await world.send("POST", "/v1/api-keys", json={"name": 77331, "type": "hunter2"})
    assert "hunter2" not in answered.text
    assert "77331" not in answered.text
