"""What was read a moment ago saves a write its questions, and shows in no answer: the ledger has the last word.

The twin is a second process, of whose writes the first one hears nothing.
"""

from collections.abc import Collection
from typing import Any

import pytest

from keyledger.domain.events import KeyUpdated
from keyledger.eventstore.port import Append
from tests.integration.commands.world import World, problem_of

LEDGERS = ["memory", "sqlite"]

CREATE = ("POST", "/v1/api-keys")
NAMED: dict[str, Any] = {"json": {"name": "x", "role": "developer"}}


async def seen(world: World, role: str = "administrator") -> dict[str, Any]:
    """Return a key with a role of its own that has just written something."""
    made = await world.created(role=role)
    assert (await world.send(*CREATE, key=made["key"], **NAMED)).status_code == 201
    return made


async def test_who_has_just_written_asks_the_ledger_nothing_but_the_append(world: World) -> None:
    made = await seen(world)
    world.ledger.loads.clear()
    assert (await world.send(*CREATE, key=made["key"], **NAMED)).status_code == 201
    assert world.ledger.loads == []
    assert {made["id"], made["owner"]["id"], world.organization_id} <= world.ledger.appends[-1].guards.keys()


@pytest.mark.parametrize(
    ("method", "path", "more"),
    [
        (*CREATE, NAMED),
        (*CREATE, {"json": {"name": "x", "role": "unheard-of"}}),
        (*CREATE, {"json": {"name": 7}}),
        (*CREATE, {"content": b"{"}),
        (*CREATE, {"content": b"x" * 300_000}),
        (*CREATE, {**NAMED, "headers": {"Idempotency-Key": "a b"}}),
        ("DELETE", "/v1/api-keys/key_0000000000000000000000", {}),
        ("GET", "/v1/users/{owner_id}", {}),
        ("POST", "/v1/users", {"json": {"name": "x", "role": "administrator"}}),
    ],
)
async def test_401_and_nothing_else_for_a_key_that_another_process_revoked(
    world: World, method: str, path: str, more: dict[str, Any]
) -> None:
    made = await seen(world)
    await world.twin().send("DELETE", f"/v1/api-keys/{made['id']}")
    head, attempts = (await world.ledger.head()).position, len(world.attempts)
    answered = await world.send(method, path.format(owner_id=made["owner"]["id"]), key=made["key"], **more)
    assert problem_of(answered, 401) == "revoked"
    assert (await world.ledger.head()).position == head
    assert [attempt.code for attempt in world.attempts[attempts:]] == ["revoked"]


async def test_401_instead_of_a_replay_for_a_key_that_another_process_revoked(world: World) -> None:
    made, once = await seen(world), {**NAMED, "headers": {"Idempotency-Key": "once"}}
    assert (await world.send(*CREATE, key=made["key"], **once)).status_code == 201
    await world.twin().send("DELETE", f"/v1/api-keys/{made['id']}")
    assert problem_of(await world.send(*CREATE, key=made["key"], **once), 401) == "revoked"


async def test_401_for_a_secret_that_another_process_replaced(world: World) -> None:
    made = await seen(world)
    rotated = await world.twin().send("POST", f"/v1/api-keys/{made['id']}/rotate")
    assert problem_of(await world.send(*CREATE, key=made["key"], **NAMED), 401) == "invalid-credential"
    assert (await world.send(*CREATE, key=rotated.json()["key"], **NAMED)).status_code == 201


async def test_a_right_that_another_process_gave_is_there_at_the_next_request(world: World) -> None:
    made = await seen(world, "api_manager")
    body: dict[str, Any] = {"json": {"name": "x", "role": "api_manager"}}
    assert problem_of(await world.send(*CREATE, key=made["key"], **body), 403) == "not-grantable"
    await world.write(f"{world.organization_id}/role/api_manager", world.role("api_manager", ["api-keys:*"], ["*"]))
    assert (await world.send(*CREATE, key=made["key"], **body)).status_code == 201


async def test_each_request_is_one_attempt(world: World) -> None:
    made = await seen(world)
    world.attempts.clear()
    await world.send(*CREATE, key=made["key"], **NAMED)
    await world.send(*CREATE, key=made["key"], json={"name": "x", "role": "unheard-of"})
    await world.write(f"{world.organization_id}/role/developer", world.role("developer", ["*:read"], []))
    await world.send(*CREATE, key=made["key"], **NAMED)
    assert [attempt.code for attempt in world.attempts] == ["valid"] * 3
    assert {attempt.key_id for attempt in world.attempts} == {made["id"]}


async def test_after_a_second_nothing_is_presumed(world: World) -> None:
    made = await seen(world)
    await world.clock.sleep(1)
    world.ledger.loads.clear()
    assert (await world.send(*CREATE, key=made["key"], **NAMED)).status_code == 201
    assert world.ledger.loads[0] == (made["id"],)


async def test_403_for_a_key_that_changes_itself_while_its_right_is_taken(world: World) -> None:
    made = await seen(world)
    await world.clock.sleep(1)  # so that it is judged by the ledger, and then decided on the ledger
    taken = KeyUpdated(organization_id=world.organization_id, key_id=made["id"], role="viewer")

    async def take(streams: Collection[str]) -> None:
        if made["id"] not in streams:  # it was judged: what it rests on besides itself is asked for
            world.ledger.before_load = None
            await world.write(made["id"], taken)

    world.ledger.before_load = take
    path = f"/v1/api-keys/{made['id']}"
    answered = await world.send("PATCH", path, key=made["key"], json={"name": "x", "role": "administrator"})
    assert problem_of(answered, 403) == "insufficient-permission"


async def test_who_is_refused_when_another_process_was_faster_is_one_attempt(world: World) -> None:
    made, twin = await seen(world), world.twin()
    once = {**NAMED, "headers": {"Idempotency-Key": "once"}}

    async def another_process(_: Append) -> None:
        world.ledger.before_append = None
        assert (await twin.send(*CREATE, key=made["key"], **once)).status_code == 201
        await twin.send("DELETE", f"/v1/api-keys/{made['id']}")

    world.ledger.before_append = another_process
    world.attempts.clear()
    assert problem_of(await world.send(*CREATE, key=made["key"], **once), 401) == "revoked"
    assert [attempt.code for attempt in world.attempts] == ["revoked"]
