"""Two command services on one database carry out requests about the same key at the same moment."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Final

from tests.faults.backends import Backend, on_both, world_on
from tests.faults.campaign import Outcome, Stage
from tests.faults.clients import ClientLedger, Write
from tests.faults.judging import judge_ledger
from tests.faults.processes import Served

Both = Callable[..., Awaitable[list[Write]]]


async def _race(stage: Stage, backend: Backend) -> Outcome:
    """In each round make a key, race two requests about it, and look at what both were told."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_on(stage, backend))
        sides = (await world.started("commands"), await world.started("commands"))
        clients = await stack.enter_async_context(ClientLedger(sides[0].origin, by=world.root_key))
        violations: list[str] = []
        for number in range(stage.rounds):
            race = stage.random.choice((_rotations_of_one_version, _one_request_twice, _revocations, _changes))
            stage.say(race.__name__)
            violations += await race(clients, partial(_both, clients, sides), number)
        outcome = await judge_ledger(world, clients, faults=stage.rounds)
        outcome.violations += violations
        return outcome


async def _both(
    clients: ClientLedger, sides: tuple[Served, Served], method: str, path: str, *bodies: object, **more: str
) -> list[Write]:
    """Send one request to both services at the same time, each with its own body if there are two."""
    given = bodies or (None, None)
    sent = (
        clients.send(method, path, body, origin=side.origin, **more) for side, body in zip(sides, given, strict=True)
    )
    return await asyncio.gather(*sent)


async def _made(clients: ClientLedger, number: int) -> str:
    made = await clients.send("POST", "/v1/api-keys", {"name": f"raced {number}", "role": "developer"})
    assert made.state == "ok", f"{made.status} {made.code}"
    return f"/v1/api-keys/{made.answer['id']}"


async def _rotations_of_one_version(clients: ClientLedger, both: Both, number: int) -> list[str]:
    """Only one rotation may be of version 1."""
    key = await _made(clients, number)
    told = sorted(str(write.status) for write in await both("POST", f"{key}/rotate", if_match='"1"'))
    return _unless(told in (["200", "412"], ["200", "409"]), "rotations of one version", told)


async def _one_request_twice(clients: ClientLedger, both: Both, number: int) -> list[str]:
    """One idempotency key, two services: one carries it out, and the other says what came of it."""
    key = await _made(clients, number)
    writes = await both("POST", f"{key}/rotate", idempotency_key=f"raced-{number}")
    told = sorted(f"{write.status} {write.replayed} {'key' in write.answer}" for write in writes)
    wrong = _unless(told == ["200 False True", "200 True False"], "one request twice", told)
    return wrong + _unless(len({write.token for write in writes}) == 1, "one request twice", ["two positions"])


async def _revocations(clients: ClientLedger, both: Both, number: int) -> list[str]:
    """A key ends once."""
    key = await _made(clients, number)
    told = sorted(str(write.status) for write in await both("DELETE", key))
    return _unless(told == ["204", "404"], "revocations", told)


async def _changes(clients: ClientLedger, both: Both, number: int) -> list[str]:
    """Unconditional changes are both carried out, one after the other."""
    key = await _made(clients, number)
    told = [str(write.status) for write in await both("PATCH", key, {"name": "left"}, {"name": "right"})]
    return _unless(told == ["200", "200"], "changes", told)


def _unless(holds: bool, race: str, told: list[str]) -> list[str]:  # noqa: FBT001 - reads as a sentence
    return [] if holds else [f"{race} were told {told}"]


CAMPAIGNS: Final = on_both(
    "racing-writers",
    _race,
    breaks="two command services race about one key",
    runs=20,
    rounds=50,
    budget_minutes=3.5,
    short_rounds=12,
)
