"""Keys are created while somebody else writes on what the creation rests on: its owner, its role, its organization."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Final

import msgspec

from keyledger.contracts.envelope import Entry, Fact
from keyledger.contracts.registry import decode, encode
from keyledger.domain.events import KeyCreated, RoleDefined
from keyledger.domain.identifiers import role_stream
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Append, Ledger, VersionConflict
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.testing.ledger_examples import an_append, an_event, last_version
from tests.faults.backends import Backend, database_on, on_both, world_on
from tests.faults.campaign import Outcome, Stage
from tests.faults.clients import ClientLedger
from tests.faults.judging import judge_ledger
from tests.faults.oracle.ledger import facts_of, rows_of
from tests.faults.processes import World
from tests.faults.waiting import meanwhile

GUARDED: Final = ("owner", "role", "organization")
CREATORS: Final = 6
PACE_SECONDS: Final = 0.002
"""Between two changes of what is guarded: faster, and no creation would ever find it as it was."""


async def _guards_hold(stage: Stage, backend: Backend) -> Outcome:
    """Two writers on one database; each created key says on which versions it rests: those must hold at its place."""
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(database_on(stage, backend))
        url = database or f"sqlite:///{stage.folder}/ledger.db"
        await migrate(url)
        ledgers = [await open_ledger(url, clock=SystemClock()) for _ in range(2)]
        for ledger in ledgers:
            stack.push_async_callback(ledger.close)
        outcome = Outcome()
        async with meanwhile(_change(stage, ledgers[1], outcome)):
            await asyncio.gather(*(_create(stage, ledgers[0], name, outcome) for name in range(CREATORS)))
        outcome.violations += _unguarded(await rows_of(ledgers[0]))
        return outcome


async def _create(stage: Stage, ledger: Ledger, name: int, outcome: Outcome) -> None:
    for number in range(stage.rounds):
        loaded = await ledger.load(GUARDED)
        versions = {stream: last_version(rows) for stream, rows in loaded.items()}
        event = an_event(msgspec.json.encode(versions))
        try:
            await ledger.append(an_append(f"key-{name}-{number}", events=(event,), guards=versions))
        except VersionConflict:
            outcome.failed += 1
        else:
            outcome.ok += 1


async def _change(stage: Stage, ledger: Ledger, outcome: Outcome) -> None:
    while True:
        stream = stage.random.choice(GUARDED)
        version = last_version((await ledger.load([stream]))[stream])
        await ledger.append(an_append(stream, version))
        outcome.faults += 1
        await asyncio.sleep(PACE_SECONDS)


def _unguarded(rows: Sequence[Entry]) -> list[str]:
    """Return the keys that rest on what was not so any more when they were written."""
    versions = dict.fromkeys(GUARDED, 0)
    violations: list[str] = []
    for row in rows:
        stream = row.header.stream
        if stream in versions:
            versions[stream] = row.header.version
        elif (rests_on := msgspec.json.decode(row.data)) != versions:
            violations.append(f"{stream} rests on {rests_on}, at its place it was {versions}")
    return violations


async def _right_is_taken(stage: Stage, backend: Backend) -> Outcome:
    """An API Manager creates keys over HTTP while another process takes the right to, and gives it back."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_on(stage, backend))
        service = await world.started("commands")
        clients = await stack.enter_async_context(ClientLedger(service.origin, by=world.root_key))
        manager = await _manager(clients)
        body = {"name": "raced", "role": "developer"}
        async with meanwhile(_give_and_take(stage, world)):
            for _ in range(stage.rounds):
                await asyncio.gather(*(clients.send("POST", "/v1/api-keys", body, by=manager) for _ in range(CREATORS)))
        async with world.ledger() as ledger:
            facts = await facts_of(ledger)
        taken = sum(fact.header.request_id.startswith("other-") for fact in facts)
        outcome = await judge_ledger(world, clients, faults=taken)
        outcome.violations += _not_granted(facts)
        return outcome


async def _manager(clients: ClientLedger) -> str:
    """Return the token of an API Manager."""
    user = await clients.send("POST", "/v1/users", {"name": "manager", "roles": ["api_manager"]})
    made = await clients.send("POST", "/v1/api-keys", {"name": "manager's", "owner_id": user.answer["id"]})
    return str(made.answer["key"])


async def _give_and_take(stage: Stage, world: World) -> None:
    """Define the role anew again and again: now it may hand out the role developer, now it may not."""
    randomness = SystemRandomness()
    async with world.ledger() as ledger:
        organization_id = (await ledger.read(0, limit=1))[0].header.organization_id
        stream = role_stream(organization_id, "api_manager")
        while True:
            rows = (await ledger.load([stream]))[stream]
            fact = decode(rows[-1])
            assert fact is not None
            assert isinstance(fact.event, RoleDefined)
            grants = () if fact.event.grants else ("viewer", "developer")
            redefined = encode(msgspec.structs.replace(fact.event, grants=grants))
            await ledger.append(
                Append(
                    append_id=randomness.token_hex(16),
                    organization_id=organization_id,
                    stream=stream,
                    expected_version=len(rows),
                    events=(redefined,),
                    request_id=f"other-{randomness.token_hex(8)}",
                )
            )
            await asyncio.sleep(stage.random.uniform(0, 10 * PACE_SECONDS))


def _not_granted(facts: Sequence[Fact]) -> list[str]:
    """Return the keys that were created by somebody who, at that place of the ledger, had not the right to."""
    grants: tuple[str, ...] = ()
    managers: set[str] = set()
    violations: list[str] = []
    for fact in facts:
        match fact.event:
            case RoleDefined(role="api_manager", grants=granted):
                grants = granted
            case KeyCreated(name="manager's", owner_id=owner_id):
                managers.add(owner_id)
            case KeyCreated(key_id=key_id, role="developer") if fact.header.actor_user in managers:
                if "developer" not in grants:
                    violations.append(f"{key_id} was created at {fact.header.position} without the right to")
    return violations


CAMPAIGNS: Final = (
    *on_both(
        "guarded-creation",
        _guards_hold,
        breaks="what a creation rests on changes at the same moment",
        runs=25,
        rounds=100,
        budget_minutes=1.5,
        short_rounds=15,
    ),
    *on_both(
        "create-without-right",
        _right_is_taken,
        breaks="the right to create is taken at the same moment",
        runs=12,
        rounds=50,
        budget_minutes=1.5,
        short_rounds=15,
    ),
)
