"""``PATCH /v1/api-keys/{key_id}``: 403, 404, 412, 415 and 422."""

from typing import Any

import pytest

from keyledger.domain.events import KeyUpdated
from keyledger.eventstore.port import Append
from tests.integration.commands.world import UNKNOWN_KEY, World, pointers, problem_of


@pytest.mark.parametrize("change", [{"name": "mine"}, {"role": "viewer"}, {"expires_at": None}])
async def test_403_for_every_field_of_a_key_above_the_caller(world: World, change: dict[str, Any]) -> None:
    made, manager = await world.created(role="administrator"), await world.key_of("api_manager")
    answered = await world.send("PATCH", f"/v1/api-keys/{made['id']}", key=manager, json=change)
    assert problem_of(answered, 403) == "not-grantable"


async def test_403_for_lifting_a_key_above_the_caller(world: World) -> None:
    made, manager = await world.created(role="viewer"), await world.key_of("api_manager")
    for role in ("administrator", None):  # None: its owner's, who is an administrator
        answered = await world.send("PATCH", f"/v1/api-keys/{made['id']}", key=manager, json={"role": role})
        assert problem_of(answered, 403) == "not-grantable"
    answered = await world.send("PATCH", f"/v1/api-keys/{made['id']}", key=manager, json={"role": "developer"})
    assert answered.status_code == 200


async def test_404_for_an_unknown_key(world: World) -> None:
    answered = await world.send("PATCH", f"/v1/api-keys/{UNKNOWN_KEY}", json={"name": "x"})
    assert problem_of(answered, 404) == "not-found"


@pytest.mark.parametrize("if_match", ["1", "nonsense", '"1'])
async def test_400_for_an_if_match_without_quotes_says_how_to_write_it(world: World, if_match: str) -> None:
    made = await world.created()
    answered = await world.send(
        "PATCH", f"/v1/api-keys/{made['id']}", json={"name": "x"}, headers={"If-Match": if_match}
    )
    assert problem_of(answered, 400) == "malformed-request"
    assert "with its quotes" in answered.json()["detail"]


@pytest.mark.parametrize("if_match", ['"2"', 'W/"1"', '"0", "7"'])
async def test_412_for_another_version(world: World, if_match: str) -> None:
    made = await world.created()
    answered = await world.send(
        "PATCH", f"/v1/api-keys/{made['id']}", json={"name": "x"}, headers={"If-Match": if_match}
    )
    assert problem_of(answered, 412) == "precondition-failed"
    assert '"1"' in answered.json()["detail"]


@pytest.mark.parametrize("if_match", ['"1"', "*", '"7", "1"'])
async def test_200_for_the_version_that_was_seen(world: World, if_match: str) -> None:
    made = await world.created()
    answered = await world.send(
        "PATCH", f"/v1/api-keys/{made['id']}", json={"name": "x"}, headers={"If-Match": if_match}
    )
    assert answered.status_code == 200


@pytest.mark.parametrize("if_match", ['"1"', None])
async def test_a_change_that_was_overtaken_is_refused_only_if_it_named_the_version(
    world: World, if_match: str | None
) -> None:
    made = await world.created()
    overtaken = False

    async def overtake(_: Append) -> None:
        nonlocal overtaken
        if not overtaken:
            overtaken = True
            event = KeyUpdated(organization_id=world.organization_id, key_id=made["id"], description="faster")
            await world.write(made["id"], event)

    world.ledger.before_append = overtake
    headers = {"If-Match": if_match} if if_match else {}
    answered = await world.send("PATCH", f"/v1/api-keys/{made['id']}", json={"name": "x"}, headers=headers)
    if if_match:
        assert problem_of(answered, 412) == "precondition-failed"
    else:
        assert (answered.json()["description"], answered.json()["name"]) == ("faster", "x")
        assert answered.headers["etag"] == '"3"'


async def test_415_names_what_is_understood(world: World) -> None:
    made = await world.created()
    answered = await world.send(
        "PATCH", f"/v1/api-keys/{made['id']}", content=b"[]", headers={"Content-Type": "application/json-patch+json"}
    )
    assert problem_of(answered, 415) == "unsupported-media-type"
    assert answered.headers["accept-patch"] == "application/merge-patch+json, application/json"


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"name": None}, "#/name"),
        ({"name": "\u0000"}, "#/name"),
        ({"role": "king"}, "#/role"),
        ({"expires_at": "2026-11-24T06:00:00Z"}, "#/expires_at"),
        ({"environment": "prod"}, "#/environment"),
        ({"owner_id": "x"}, "#/owner_id"),
        ({"key": "x"}, "#/key"),
    ],
)
async def test_422_for_what_cannot_be_or_cannot_be_changed(world: World, change: dict[str, Any], where: str) -> None:
    made = await world.created()
    assert pointers(await world.send("PATCH", f"/v1/api-keys/{made['id']}", json=change)) == [where]


async def test_422_for_taking_the_role_off_a_key_that_is_not_personal(world: World) -> None:
    made = await world.created(type="team", owner_id=await world.owner("/v1/teams"), role="viewer")
    assert pointers(await world.send("PATCH", f"/v1/api-keys/{made['id']}", json={"role": None})) == ["#/role"]
