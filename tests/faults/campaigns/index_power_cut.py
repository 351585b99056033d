"""The machine of a verifier node loses power: after a clean close of its index, or in the middle of its work."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from keyledger.projections.port import Checkpoint, Versioned
from keyledger.testing.read_model_suite import at, commit, key, load
from keyledger.verification.index import LmdbIndex, open_index
from keyledger.verification.records import OwnerRecord, Record
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.small_disk import power_cut_disk

SIZE_MB: Final = 16
MOST_BATCHES: Final = 20
MOST_ROWS: Final = 200
KEYS: Final = 2_000

Rows = dict[str, Versioned[Record]]


async def _closed_and_cut(stage: Stage) -> Outcome:
    return await _cut(stage, LmdbIndex.close)


async def _closed_without_sync(stage: Stage) -> Outcome:
    """The naive way: the mark of a clean close is set while the data is still on its way to the disk."""
    return await _cut(stage, _close_without_sync)


def _close_without_sync(index: LmdbIndex) -> None:
    folder = Path(index.environment.path()).parent
    index.environment.close()
    (folder / "opened-in-boot").unlink()
    descriptor = os.open(folder, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)
    _release(index)


def _release(index: LmdbIndex) -> None:
    """Let go of the lock as the end of a process does."""
    if index._lock is not None:  # noqa: SLF001 - what the kernel does when a process dies
        os.close(index._lock)  # noqa: SLF001


async def _cut(stage: Stage, close: Callable[[LmdbIndex], None]) -> Outcome:
    """In each round open the index in another boot, compare it with what it must hold, write on, and cut the power."""
    outcome = Outcome()
    kept, held = Checkpoint(), Rows()
    with power_cut_disk(stage.folder, size_mb=2 * SIZE_MB) as disk:
        for boot in range(stage.rounds):
            index = open_index(disk.folder / "index", generation=1, size_mb=SIZE_MB, boot_id=f"boot-{boot}")
            outcome.violations += await _differences(index, kept, held)
            kept, held = await _written(stage, index)
            outcome.ok += 1
            if stage.random.random() < 0.5:
                stage.say("closed, then cut")
                close(index)
                disk.lose_power()
            else:
                stage.say("cut")
                disk.lose_power()
                index.environment.close()
                _release(index)
                kept, held = Checkpoint(), {}
            disk.come_back()
            outcome.faults += 1
            if outcome.violations:
                break
    return outcome


async def _differences(index: LmdbIndex, kept: Checkpoint, held: Rows) -> list[str]:
    """Return how the index differs: after a clean close it is whole, after a crash of the machine it begins anew."""
    checkpoint = await index.checkpoint()
    if checkpoint != kept:
        return [f"the index is at position {checkpoint.position}, it must be at {kept.position}"]
    if (found := await load(index, *map(key, range(KEYS)))) != held:
        return [f"{len(found)} rows are not the {len(held)} that were written"]
    return []


async def _written(stage: Stage, index: LmdbIndex) -> tuple[Checkpoint, Rows]:
    """Write some batches, some of which the kernel brings to the disk meanwhile; return what the index holds then."""
    checkpoint = await index.checkpoint()
    for _ in range(stage.random.randint(1, MOST_BATCHES)):
        numbers = stage.random.sample(range(KEYS), stage.random.randint(1, MOST_ROWS))
        new = at(checkpoint.position + 1)
        rows: Rows = {
            key(number): Versioned(
                new.position, OwnerRecord(f"org-{stage.random.getrandbits(64)}", "user", ("viewer",))
            )
            for number in numbers
        }
        await commit(index, rows, expected=checkpoint, new=new)
        checkpoint = new
        if stage.random.random() < 0.1:
            index.environment.sync(True)
    return checkpoint, await load(index, *map(key, range(KEYS)))


CAMPAIGNS: Final = (
    Campaign(
        name="index-power-cut",
        breaks="a verifier node's machine loses power, before or after a clean close",
        run=_closed_and_cut,
        naive=_closed_without_sync,
        runs=30,
        rounds=20,
        budget_minutes=2,
        short_rounds=6,
        needs=frozenset({"mount"}),
    ),
)
