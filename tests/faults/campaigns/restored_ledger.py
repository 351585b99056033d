"""A ledger goes back to a backup: nobody follows it silently, and the procedure of infra/README.md mends it."""

import asyncio
import shutil
import sqlite3
from contextlib import AsyncExitStack, closing
from pathlib import Path
from typing import Final

import httpx2

from keyledger.eventstore.port import Ledger
from keyledger.web.positions import PositionTokens, position_tokens
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.clients import ClientLedger, HeldKey, live_for
from tests.faults.judging import judge_all, until_caught_up
from tests.faults.processes import SERVE, Served, World, world_in

WRITERS: Final = 4
WATCHED_SECONDS: Final = 12.0
"""How long a process that neither ends nor becomes ready is looked at."""
ENDED_SECONDS: Final = 180.0
MODELS: Final = ("directory.db*", "alerts.db*", "index-*")


async def _restored(stage: Stage) -> Outcome:
    async with AsyncExitStack() as stack:
        world = await stack.enter_async_context(world_in(stage.folder))
        serve, commands = world.service(SERVE), world.service("commands")
        await serve.start()
        await serve.until_ready()
        before = await stack.enter_async_context(ClientLedger(serve.origin, by=world.root_key))
        lost = await _written_and_restored(stage, world, serve, before)

        violations = await _refused(serve, before, lost, "the topics hold more than the ledger")
        await _history_goes_on(stage, commands, before)
        violations += await _refused(serve, before, lost, "the ledger tells another history")
        _delete(world.data_dir, "log.db*")
        violations += await _refused(serve, before, lost, "the topics are anew, the read models are not")
        _delete(world.data_dir, "log.db*", *MODELS)
        await serve.start()
        await serve.until_ready()
        before.keys = []
        outcome = await judge_all(world, before, faults=3, verifier=serve, directory=serve, alerts=False)
        violations += [f"{key.id}, which is lost, was accepted" for key in lost if await _accepts(before, serve, key)]
        outcome.violations += violations
        return outcome


async def _written_and_restored(stage: Stage, world: World, serve: Served, clients: ClientLedger) -> list[HeldKey]:
    """Write, take a backup, write on, and put the backup in the ledger's place; return the keys made in between."""
    ledger, backup = world.data_dir / "ledger.db", world.folder / "backup.db"
    await live_for(clients, stage.random, stage.random.randint(5, 40), writers=WRITERS)
    kept = {key.id for key in clients.keys}
    await asyncio.to_thread(_copy, ledger, backup)
    await live_for(clients, stage.random, stage.random.randint(10, 40), writers=WRITERS)
    async with world.ledger() as opened:
        tokens = position_tokens(opened.store_id, world.peppers)
        await until_caught_up(clients, tokens.write((await opened.head()).position), serve, serve)
    await serve.kill()
    _delete(world.data_dir, "ledger.db*")
    shutil.copyfile(backup, ledger)
    async with world.ledger() as opened:
        await _forget_what_is_lost(opened, tokens, clients)
    return [key for key in clients.keys if key.id not in kept and not key.revoked and not key.doubtful]


async def _forget_what_is_lost(ledger: Ledger, tokens: PositionTokens, clients: ClientLedger) -> None:
    head = (await ledger.head()).position
    clients.writes = [write for write in clients.writes if write.token is not None and tokens.read(write.token) <= head]


async def _history_goes_on(stage: Stage, commands: Served, clients: ClientLedger) -> None:
    """Write through a command service, which needs nothing but the ledger: it may get past the old end, or not."""
    await commands.start()
    await commands.until_ready()
    for _ in range(stage.random.randint(1, 60)):
        await clients.send("POST", "/v1/api-keys", {"name": "since the backup"}, origin=commands.origin)
    await commands.kill()


async def _refused(serve: Served, clients: ClientLedger, lost: list[HeldKey], when: str) -> list[str]:
    """Start the process and look: it must end, or answer no verification. Return what it did otherwise."""
    await serve.start()
    loop = asyncio.get_running_loop()
    listening, deadline = 0.0, loop.time() + ENDED_SECONDS
    accepted: list[str] = []
    while serve.runs and loop.time() < deadline and not (listening and loop.time() > listening + WATCHED_SECONDS):
        try:
            accepted += [key.id for key in lost if await _accepts(clients, serve, key)]
            listening = listening or loop.time()
        except httpx2.TransportError:
            pass  # it does not listen yet, or no more
        await asyncio.sleep(0.05)
    await serve.kill()
    return [f"{when}: {id_}, which is lost, was accepted" for id_ in sorted(set(accepted))]


async def _accepts(clients: ClientLedger, serve: Served, key: HeldKey) -> bool:
    return (await clients.verify(key.token, origin=serve.origin)).is_success


def _copy(ledger: Path, backup: Path) -> None:
    """Copy a ledger that is being written, as ``sqlite3 ledger.db ".backup backup.db"`` does."""
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(backup)) as copy:
        source.backup(copy)


def _delete(folder: Path, *patterns: str) -> None:
    for pattern in patterns:
        for path in folder.glob(pattern):
            shutil.rmtree(path) if path.is_dir() else path.unlink()


CAMPAIGNS: Final = (
    Campaign(
        name="restored-ledger",
        breaks="the ledger goes back to a backup",
        run=_restored,
        runs=4,
        rounds=1,
        budget_minutes=3,
    ),
)
