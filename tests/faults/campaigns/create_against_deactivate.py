"""Keys are created for a user whom another process deactivates at the same moment."""

import asyncio
import itertools
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

from keyledger.contracts.envelope import Fact
from keyledger.domain.events import KeyCreated, UserDeactivated, UserReactivated
from tests.faults.backends import Backend, on_both, world_on
from tests.faults.campaign import Outcome, Stage
from tests.faults.clients import ClientLedger, Write
from tests.faults.judging import judge_all
from tests.faults.oracle.ledger import facts_of
from tests.faults.processes import SERVE, Served

USERS: Final = 5
"""Each has a race of its own in each round."""
CREATORS: Final = 4
SPREAD_SECONDS: Final = 0.03
"""Within this time of each other the creations and the deactivation are sent, so that each comes first sometimes."""


async def _races(stage: Stage, backend: Backend) -> Outcome:
    """Race for users' keys, round after round; none that was made may live on, then or after a reactivation."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_on(stage, backend))
        serve, other = await world.started(SERVE), await world.started("commands")
        clients = await stack.enter_async_context(ClientLedger(serve.origin, by=world.root_key))
        users = [await _user(clients) for _ in range(USERS)]
        violations: list[str] = []
        for _ in range(stage.rounds):
            races = [_race(stage, clients, user_id, serve, other) for user_id in users]
            violations += itertools.chain(*await asyncio.gather(*races))
        for user_id in users:
            last = await _created(clients, user_id)
            assert last.state == "ok", f"a creation for an active user: {last.status} {last.code}"
            violations += await _not_judged(clients, [last], serve, "valid", last)
        async with world.ledger() as ledger:
            violations += _created_while_deactivated(await facts_of(ledger))
        outcome = await judge_all(
            world, clients, faults=stage.rounds * USERS, verifier=serve, directory=serve, alerts=False
        )
        outcome.violations += violations
        return outcome


async def _user(clients: ClientLedger) -> str:
    made = await clients.send("POST", "/v1/users", {"name": "raced", "role": "developer"})
    return str(made.answer["id"])


async def _race(stage: Stage, clients: ClientLedger, user_id: str, serve: Served, other: Served) -> list[str]:
    """Begin and end with an active user. The keys are tried while the user is deactivated, and when no more."""
    waits = [stage.random.uniform(0, SPREAD_SECONDS) for _ in range(CREATORS + 1)]
    creations = [_created(clients, user_id, after=seconds) for seconds in waits[1:]]
    deactivation, *created = await asyncio.gather(
        _changed(clients, user_id, "deactivate", other, after=waits[0]), *creations
    )
    died = [write for write in created if write.state == "ok"]
    wrong = [f"a creation was told {one.status} {one.code}" for one in created if one.status not in {201, 409, 422}]
    wrong += await _not_judged(clients, died, serve, "owner-deactivated", deactivation)
    late = await _created(clients, user_id)
    if late.status != 422:
        wrong.append(f"a creation for a deactivated user was told {late.status} {late.code}")
    reactivation = await _changed(clients, user_id, "reactivate", other)
    return wrong + await _not_judged(clients, died, serve, "owner-deactivated", reactivation)


async def _created(clients: ClientLedger, user_id: str, *, after: float = 0) -> Write:
    await asyncio.sleep(after)
    return await clients.send("POST", "/v1/api-keys", {"name": "raced", "owner_id": user_id})


async def _changed(clients: ClientLedger, user_id: str, action: str, other: Served, *, after: float = 0) -> Write:
    await asyncio.sleep(after)
    changed = await clients.send("POST", f"/v1/users/{user_id}/{action}", origin=other.origin)
    assert changed.state == "ok", f"{action}: {changed.status} {changed.code}"
    return changed


async def _not_judged(
    clients: ClientLedger, created: Sequence[Write], serve: Served, code: str, since: Write
) -> list[str]:
    """Return the keys that the verifier does not judge with this code, once it has applied the write ``since``."""
    wrong: list[str] = []
    for write in created:
        said = await clients.verify(write.answer["key"], origin=serve.origin, at_least=since.token)
        if said.json()["code"] != code:
            wrong.append(f"{write.answer['id']} is {said.json()['code']}, not {code}")
    return wrong


def _created_while_deactivated(facts: Sequence[Fact]) -> list[str]:
    """Return the keys that were created for a user who, at that place of the ledger, was deactivated."""
    deactivated: set[str] = set()
    violations: list[str] = []
    for fact in facts:
        match fact.event:
            case UserDeactivated(user_id=user_id):
                deactivated.add(user_id)
            case UserReactivated(user_id=user_id):
                deactivated.remove(user_id)
            case KeyCreated(key_id=key_id, owner_id=owner_id) if owner_id in deactivated:
                violations.append(f"{key_id} was created at {fact.header.position} for a deactivated user")
    return violations


CAMPAIGNS: Final = on_both(
    "create-against-deactivate",
    _races,
    breaks="a key's owner is deactivated at the same moment",
    runs=6,
    rounds=20,
    budget_minutes=2.5,
    short_rounds=4,
)
