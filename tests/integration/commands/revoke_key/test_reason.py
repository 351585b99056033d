"""``DELETE /v1/api-keys/{key_id}?reason=``: why a key is over."""

from typing import cast

import pytest

from keyledger.contracts.registry import decode
from keyledger.domain.events import KeyRevoked
from tests.integration.commands.world import World, pointers, problem_of


async def reason_of(world: World, key_id: str) -> str:
    last = decode((await world.ledger.inner.load([key_id]))[key_id][-1])
    assert last is not None
    return cast("KeyRevoked", last.event).reason


@pytest.mark.parametrize("reason", ["leaked", "superseded", "no_longer_needed", "unspecified", None])
async def test_the_reason_is_kept(world: World, reason: str | None) -> None:
    key_id = (await world.created())["id"]
    path = f"/v1/api-keys/{key_id}" + (f"?reason={reason}" if reason else "")
    assert (await world.send("DELETE", path)).status_code == 204
    assert await reason_of(world, key_id) == (reason or "unspecified")


@pytest.mark.parametrize(
    ("query", "where"),
    [
        ("reason=owner_deactivated", "query: reason"),
        ("reason=bored", "query: reason"),
        ("reason=", "query: reason"),
        ("reason=leaked&reason=superseded", "query: reason"),
        ("reasn=leaked", "query: reasn"),
    ],
)
async def test_422_for_a_reason_that_nobody_can_give_and_the_key_lives(world: World, query: str, where: str) -> None:
    made = await world.created()
    assert pointers(await world.send("DELETE", f"/v1/api-keys/{made['id']}?{query}")) == [where]
    assert await world.works(made["key"])


async def test_who_may_not_revoke_learns_nothing_of_what_else_is_wrong(world: World) -> None:
    made, viewer = await world.created(), await world.key_of("viewer")
    answered = await world.send("DELETE", f"/v1/api-keys/{made['id']}?reason=bored", key=viewer)
    assert problem_of(answered, 403) == "insufficient-permission"


async def test_another_reason_is_another_request(world: World) -> None:
    path, headers = f"/v1/api-keys/{(await world.created())['id']}", {"Idempotency-Key": "once"}
    assert (await world.send("DELETE", f"{path}?reason=leaked", headers=headers)).status_code == 204
    assert (await world.send("DELETE", f"{path}?reason=leaked", headers=headers)).status_code == 204
    answered = await world.send("DELETE", f"{path}?reason=superseded", headers=headers)
    assert problem_of(answered, 422) == "idempotency-mismatch"
