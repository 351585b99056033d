"""``PATCH /v1/api-keys/{key_id}``: JSON Merge Patch."""

from typing import Any

import pytest

from tests.integration.commands.world import World

LEDGERS = ["memory", "sqlite"]


@pytest.mark.parametrize("content_type", ["application/json", "application/merge-patch+json"])
async def test_what_is_absent_stays(world: World, content_type: str) -> None:
    made = await world.created(description="old", expires_at="2027-01-31T12:00:00Z")
    await world.clock.sleep(60)
    answered = await world.send(
        "PATCH", f"/v1/api-keys/{made['id']}", content=b'{"name": " new "}', headers={"Content-Type": content_type}
    )
    assert answered.status_code == 200
    assert answered.headers["etag"] == '"2"'
    del made["key"]
    assert answered.json() == {**made, "name": "new", "updated_at": "2026-11-24T06:01:00Z", "version": 2}


async def test_null_removes_what_can_be_absent(world: World) -> None:
    made = await world.created(description="old", expires_at="2027-01-31T12:00:00Z", role="viewer")
    change = {"description": None, "expires_at": None, "role": None}
    answered = (await world.send("PATCH", f"/v1/api-keys/{made['id']}", json=change)).json()
    assert (answered["description"], answered["expires_at"], answered["role"]) == ("", None, None)


@pytest.mark.parametrize("change", [{}, {"name": "a key"}, {"role": "developer", "expires_at": None}])
async def test_what_changes_nothing_is_no_event_and_answers_with_the_last_position(
    world: World, change: dict[str, Any]
) -> None:
    made = await world.send("POST", "/v1/api-keys", json={"name": "a key", "role": "developer"})
    await world.user()  # the ledger goes on
    head = (await world.ledger.head()).position
    answered = await world.send("PATCH", f"/v1/api-keys/{made.json()['id']}", json=change)
    assert answered.status_code == 200
    assert answered.headers["etag"] == '"1"'
    assert answered.headers["keyledger-position"] == made.headers["keyledger-position"]
    assert (await world.ledger.head()).position == head


async def test_metadata_is_merged_at_every_depth(world: World) -> None:
    made = await world.created(metadata={"customer": "acme", "limits": {"a": 1, "b": 2}, "none": None})
    assert made["metadata"] == {"customer": "acme", "limits": {"a": 1, "b": 2}}
    path = f"/v1/api-keys/{made['id']}"
    for patch, left in (
        ({"limits": {"a": None, "c": [None]}}, {"customer": "acme", "limits": {"b": 2, "c": [None]}}),
        ({"limits": None}, {"customer": "acme"}),
        (None, {}),
    ):
        changed = (await world.send("PATCH", path, json={"metadata": patch})).json()
        assert changed["metadata"] == left
    assert changed["version"] == 4


async def test_a_changed_role_holds_at_once(world: World) -> None:
    made = await world.created(role="administrator")
    body = {"name": "x"}
    assert (await world.send("POST", "/v1/teams", key=made["key"], json=body)).status_code == 201
    await world.send("PATCH", f"/v1/api-keys/{made['id']}", json={"role": "viewer"})
    assert (await world.send("POST", "/v1/teams", key=made["key"], json=body)).status_code == 403


async def test_an_expired_key_can_be_given_more_time(world: World) -> None:
    made = await world.created(expires_at="2026-11-24T06:00:01Z")
    await world.clock.sleep(1)
    assert not await world.works(made["key"])
    change = {"expires_at": "2027-01-31T12:00:00Z"}
    assert (await world.send("PATCH", f"/v1/api-keys/{made['id']}", json=change)).json()["status"] == "active"
    assert await world.works(made["key"])


async def test_a_change_rests_on_the_roles_before_and_after(world: World) -> None:
    made = await world.created(role="viewer")
    await world.send("PATCH", f"/v1/api-keys/{made['id']}", json={"role": "developer"})
    organization = world.organization_id
    guards = world.ledger.appends[-1].guards
    assert {organization, made["owner"]["id"], f"{organization}/role/viewer", f"{organization}/role/developer"} <= set(
        guards
    )
