"""Whose right ends while a request is decided, writes nothing: the right is a condition of the append."""

from typing import Any

import pytest

from keyledger.domain.events import KeyRevoked
from keyledger.eventstore.port import Append
from tests.integration.commands.world import World, problem_of

LEDGERS = ["memory", "sqlite"]


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/api-keys", {"name": "another door"}),
        ("POST", "/v1/users", {"name": "x"}),
        ("POST", "/v1/api-keys/{key_id}/rotate", None),
        ("DELETE", "/v1/api-keys/{key_id}", None),
    ],
)
async def test_401_for_a_key_that_is_revoked_meanwhile(
    world: World, method: str, path: str, body: dict[str, Any] | None
) -> None:
    stolen, target = await world.created(role="administrator"), await world.created()

    async def revoke(_: Append) -> None:
        world.ledger.before_append = None
        await world.write(stolen["id"], KeyRevoked(organization_id=world.organization_id, key_id=stolen["id"]))

    world.ledger.before_append = revoke
    answered = await world.send(method, path.format(key_id=target["id"]), key=stolen["key"], json=body)
    assert problem_of(answered, 401) == "revoked"
    assert (await world.ledger.read(0, limit=1000))[-1].header.type == "KeyRevoked"
    assert world.attempts[-1].code == "revoked"
    assert await world.works(target["key"])


async def test_403_for_a_role_that_is_narrowed_meanwhile(world: World) -> None:
    key = (await world.created(role="administrator"))["key"]

    async def narrow(_: Append) -> None:
        world.ledger.before_append = None
        await world.write(f"{world.organization_id}/role/administrator", world.role("administrator", ["*:read"], []))

    world.ledger.before_append = narrow
    answered = await world.send("POST", "/v1/teams", key=key, json={"name": "x"})
    assert problem_of(answered, 403) == "insufficient-permission"
