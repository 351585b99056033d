"""The first start of an installation is killed: while its secrets are made, or its first facts are written."""

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Final

from keyledger.contracts.registry import decode
from keyledger.domain.events import KeyCreated, OrganizationCreated
from keyledger.runtime.masters import FILE_NAME as PEPPER
from keyledger_commands.bootstrap import FILE_NAME as ROOT_KEY
from tests.faults.backends import Backend, on_both, world_on
from tests.faults.campaign import Outcome, Stage
from tests.faults.clients import ClientLedger
from tests.faults.judging import judge_ledger
from tests.faults.oracle.ledger import rows_of
from tests.faults.processes import World

LATEST_APPEND: Final = 2
"""Of the six facts that a first start commits one after the other, before the root key."""


async def _killed(stage: Stage, backend: Backend) -> Outcome:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_on(stage, backend))
        service = world.service("commands")
        deaths = 0
        for place in _places(stage):
            stage.say(place)
            await service.start(place)
            with suppress(AssertionError):  # it dies at the place, unless it is ready before it comes there
                await service.until_ready()
            deaths += not service.runs
            await service.kill()
        await service.start()
        await service.until_ready()
        clients = await stack.enter_async_context(ClientLedger(service.origin, by=world.root_key))
        await clients.send("POST", "/v1/api-keys", {"name": "opened"})
        outcome = await judge_ledger(world, clients, faults=deaths)
        if not outcome.ok:
            outcome.violations.append("the root key opens nothing")
        outcome.violations += await _left_behind(world)
        return outcome


def _places(stage: Stage) -> Iterator[str]:
    """Say where each life ends: at the pepper, ``rounds`` times in the first facts, at the root key, at its fact."""
    secret, commit = ("secret.before_name", "secret.after_name"), ("before_commit", "in_commit", "after_commit")
    yield f"{stage.random.choice(secret)}:kill"
    for _ in range(stage.rounds):
        yield f"ledger.{stage.random.choice(commit)}:kill@{stage.random.randint(1, LATEST_APPEND)}"
    yield f"{stage.random.choice(secret)}:kill"
    yield f"ledger.{stage.random.choice(commit)}:kill"


async def _left_behind(world: World) -> list[str]:
    """Return what there is twice, and every file that holds a secret and should not be there."""
    async with world.ledger() as ledger:
        events = [fact.event for row in await rows_of(ledger) if (fact := decode(row)) is not None]
    founded = sum(isinstance(event, OrganizationCreated) for event in events)
    roots = sum(isinstance(event, KeyCreated) and event.name == "root key" for event in events)
    violations = [] if (founded, roots) == (1, 1) else [f"there are {founded} organizations and {roots} root keys"]
    secrets = [(world.data_dir / name).read_text(encoding="ascii").strip().encode() for name in (PEPPER, ROOT_KEY)]
    left = await asyncio.to_thread(_files_with, world.data_dir, secrets)
    return violations + [f"{path} holds a secret" for path in left if path.name not in (PEPPER, ROOT_KEY)]


def _files_with(folder: Path, secrets: list[bytes]) -> list[Path]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    hidden = [path for path in files if path.name.startswith(".")]
    return hidden + [path for path in files if any(secret in path.read_bytes() for secret in secrets)]


CAMPAIGNS: Final = on_both(
    "first-start-killed",
    _killed,
    breaks="the first start is killed while it makes its secrets and first facts",
    runs=6,
    rounds=2,
    budget_minutes=3,
    short_rounds=0,
)
