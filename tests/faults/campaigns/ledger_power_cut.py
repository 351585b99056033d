"""The machine of a ledger on SQLite loses power; so does the one on which an installation's secrets were just made."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

from keyledger.contracts.ports import Clock
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Appended, Ledger
from keyledger.eventstore.sqlite.ledger import SqliteLedger
from keyledger.eventstore.verifying import ChainBroken, verify_chain
from keyledger.runtime.clock import SystemClock
from keyledger.runtime.masters import write_once
from keyledger.testing.ledger_examples import an_append
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.oracle.ledger import rows_of
from tests.faults.small_disk import power_cut_disk

CALLERS: Final = 8
MOST_APPENDS: Final = 20
SIZE_MB: Final = 64

Open = Callable[[str, Clock], Awaitable[Ledger]]


async def _ours(url: str, clock: Clock) -> Ledger:
    return await open_ledger(url, clock=clock)


async def _hurried(url: str, clock: Clock) -> Ledger:
    """The naive way: a commit is answered before the disk has it."""
    ledger = await open_ledger(url, clock=clock)
    assert isinstance(ledger, SqliteLedger)
    await ledger.append(an_append(f"first-{(await ledger.head()).position}"))
    connection = ledger._committer._connection  # noqa: SLF001 - the very connection that commits
    assert connection is not None
    connection.execute("PRAGMA synchronous=NORMAL")
    return ledger


async def _cut(stage: Stage, opened: Open) -> Outcome:
    """In each life write and lose power; in the end everything that was answered, in any life, must be there."""
    outcome = Outcome()
    answered: dict[str, int] = {}
    with power_cut_disk(stage.folder, size_mb=SIZE_MB) as disk:
        url = f"sqlite:///{disk.folder}/ledger.db"
        await migrate(url)
        for life in range(stage.rounds):
            secret = disk.folder / f"secret-{life}"
            write_once(secret, str(life))
            ledger = await opened(url, SystemClock())
            for told in await asyncio.gather(*(_append(stage, ledger, f"{life}-{n}") for n in range(CALLERS))):
                answered |= told
            disk.lose_power()
            await ledger.close()
            disk.come_back()
            outcome.faults += 1
            if not secret.exists() or secret.read_text(encoding="ascii").strip() != str(life):
                outcome.violations.append(f"the secret of life {life} is not there")
        outcome.ok = len(answered)
        outcome.violations += await _lost(url, answered)
    return outcome


async def _append(stage: Stage, ledger: Ledger, stream: str) -> dict[str, int]:
    """Return where each of the caller's appends was told to stand."""
    told: dict[str, int] = {}
    for version in range(stage.random.randint(1, MOST_APPENDS)):
        append = an_append(stream, version, append_id=f"{stream}-{version}")
        appended = await ledger.append(append)
        assert isinstance(appended, Appended)
        told[append.append_id] = appended.position
    return told


async def _lost(url: str, answered: dict[str, int]) -> list[str]:
    ledger = await open_ledger(url, clock=SystemClock())
    try:
        await verify_chain(ledger)
        places = {row.header.append_id: row.header.position for row in await rows_of(ledger)}
    except ChainBroken as broken:
        return [f"the chain is broken: {broken}"]
    finally:
        await ledger.close()
    return [
        f"{one} was answered {at} and stands at {places.get(one)}"
        for one, at in answered.items()
        if places.get(one) != at
    ]


CAMPAIGNS: Final = (
    Campaign(
        name="ledger-power-cut",
        breaks="the machine of a ledger on SQLite loses power",
        run=lambda stage: _cut(stage, _ours),
        naive=lambda stage: _cut(stage, _hurried),
        runs=30,
        rounds=8,
        budget_minutes=1.5,
        short_rounds=2,
        needs=frozenset({"mount"}),
    ),
)
