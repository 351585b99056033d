"""``POST /v1/api-keys``: what others change at the same time is never missed."""

import asyncio
from typing import Any

from keyledger.domain.events import RoleDefined
from keyledger.eventstore.port import Append
from tests.integration.commands.world import World, problem_of

LEDGERS = ["memory", "sqlite"]


def redefined(world: World) -> RoleDefined:
    return RoleDefined(
        organization_id=world.organization_id, role="developer", name="Developer", permissions=("*:read",), grants=()
    )


async def test_a_role_that_changes_meanwhile_makes_it_decide_again(world: World) -> None:
    role = f"{world.organization_id}/role/developer"
    redefinitions = 0

    async def redefine(append: Append) -> None:
        nonlocal redefinitions
        if role in append.guards and redefinitions == 0:
            redefinitions += 1
            await world.write(role, redefined(world))

    world.ledger.before_append = redefine
    await world.created(role="developer")
    assert [append.guards[role] for append in world.ledger.appends] == [1, 2]


async def test_409_when_every_decision_is_overtaken(world: World) -> None:
    async def redefine(_: Append) -> None:
        await world.write(f"{world.organization_id}/role/developer", redefined(world))

    world.ledger.before_append = redefine
    answered = await world.send("POST", "/v1/api-keys", json={"name": "x", "role": "developer"})
    assert problem_of(answered, 409) == "conflict"
    assert len(world.ledger.appends) == 5


async def test_409_while_the_same_idempotency_key_is_being_carried_out(world: World) -> None:
    inside, go_on = asyncio.Event(), asyncio.Event()

    async def wait(_: Append) -> None:
        inside.set()
        await go_on.wait()

    world.ledger.before_append = wait
    request: dict[str, Any] = {"json": {"name": "x"}, "headers": {"Idempotency-Key": "once"}}
    first = asyncio.create_task(world.send("POST", "/v1/api-keys", **request))
    await inside.wait()
    second = await asyncio.wait_for(world.send("POST", "/v1/api-keys", **request), 120)
    go_on.set()
    assert (await first).status_code == 201
    assert problem_of(second, 409) == "request-in-flight"
    assert second.headers["retry-after"] == "1"
