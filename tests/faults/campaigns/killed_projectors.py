"""Projectors on the embedded log: a verifier node that is killed, and directories of which one is a zombie."""

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from keyledger.contracts.failpoints import Name
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import ClientLedger, live, live_for, live_until_it_stands
from tests.faults.judging import judge_all
from tests.faults.processes import Served, world_in

PLACES: Final[tuple[Name, ...]] = ("projection.before_rows", "projection.before_commit", "projection.after_commit")
LATEST_BATCH: Final = 12
SCRIBBLED_BYTES: Final = 4096
SCRIBBLES: Final = 8
ANSWERED_SECONDS: Final = 120.0


async def _node_killed(stage: Stage) -> Outcome:
    """Kill the node in its work; sometimes the machine went down with it, and left its index in pieces."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_in(stage.folder))
        service = await world.started("commands")
        await world.started("relay")
        node = world.service("verification")
        clients = await stack.enter_async_context(ClientLedger(service.origin, by=world.root_key))
        for _ in range(stage.rounds):
            place = f"{stage.random.choice(PLACES)}:kill@{stage.random.randint(1, LATEST_BATCH)}"
            await node.start(place)
            await live(clients, stage.random, lambda: not node.runs)
            machine = stage.random.random() < 0.5
            stage.say(f"{place}{' with its machine' if machine else ''}")
            if machine:
                await asyncio.to_thread(_machine_went_down, world.data_dir / f"index-{node.node}", stage.random)
        await node.start()
        await node.until_ready()
        return await judge_all(world, clients, faults=stage.rounds, verifier=node, alerts=False)


def _machine_went_down(index: Path, chance: random.Random) -> None:
    """Leave the index as the end of its machine may: opened in another boot, with pages that were never written."""
    for mark in index.rglob("opened-in-boot"):
        mark.write_text("another boot", encoding="ascii")
    for data in index.rglob("data.mdb"):
        with data.open("r+b") as file:
            size = data.stat().st_size
            for _ in range(SCRIBBLES):
                file.seek(chance.randrange(max(size - SCRIBBLED_BYTES, 1)))
                file.write(chance.randbytes(SCRIBBLED_BYTES))


async def _zombie(stage: Stage) -> Outcome:
    """Stop a directory in its work, let another take its place, and wake the first one up."""
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_in(stage.folder))
        service = await world.started("commands")
        await world.started("relay")
        clients = await stack.enter_async_context(ClientLedger(service.origin, by=world.root_key))
        heir = await world.started("directory")
        violations: list[str] = []
        for _ in range(stage.rounds):
            await heir.kill()
            zombie = world.service("directory")
            place = f"{stage.random.choice(PLACES)}:stop@{stage.random.randint(1, LATEST_BATCH)}"
            stage.say(place)
            await zombie.start(place)
            await live_until_it_stands(clients, stage.random, zombie)
            heir = world.service("directory")
            await heir.start()
            await live_for(clients, stage.random, 20)
            zombie.thaw()
            violations += await _one_is_left(clients, stage, [zombie, heir])
            heir = heir if heir.runs else zombie
        await heir.until_ready()
        outcome = await judge_all(world, clients, faults=stage.rounds, directory=heir, alerts=False)
        outcome.violations += violations
        return outcome


async def _one_is_left(clients: ClientLedger, stage: Stage, both: list[Served]) -> list[str]:
    """Go on writing until one of both has noticed that it is not alone; say so if none does."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + ANSWERED_SECONDS
    await live(clients, stage.random, lambda: not all(one.runs for one in both) or loop.time() > deadline)
    left = sum(one.runs for one in both)
    return [] if left == 1 else [f"{left} of two directories go on"]


CAMPAIGNS: Final = (
    Campaign(
        name="index-killed",
        breaks="a verifier node is killed, sometimes with its machine",
        run=_node_killed,
        runs=5,
        rounds=4,
        budget_minutes=2,
        short_rounds=2,
    ),
    Campaign(
        name="zombie-directory",
        breaks="a directory stands still, is replaced, and wakes up",
        run=_zombie,
        runs=5,
        rounds=2,
        budget_minutes=2,
    ),
)
