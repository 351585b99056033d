"""Live read models against ones that are rebuilt from the log alone, byte for byte."""

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from keyledger.eventlog.port import EventLog
from keyledger.projections.port import Projection, ReadModel
from keyledger.projections.runner import ProjectionRunner
from keyledger.runtime.clock import SystemClock
from keyledger.runtime.settings import Settings
from keyledger.verification.index import LmdbIndex, open_index, open_index_for_reading
from keyledger.verification.projector import VerificationProjection
from keyledger_directory.projector import KeyDirectory
from tests.integration.directory.projector_process import rows_of, store_at

FOLDED_SECONDS = 120.0


async def directory_violations(settings: Settings, log: EventLog, *, head: int, folder: Path) -> list[str]:
    """Return how the directory, which has reached ``head``, differs from its rebuild; that is made in ``folder``."""
    differs = await rows_of(settings.directory_url) != await _rebuilt_directory(log, head, folder)
    return ["the directory is not what a rebuild makes of the log"] if differs else []


async def index_violations(settings: Settings, log: EventLog, node: str, *, head: int, folder: Path) -> list[str]:
    """Return how the node's index, which has reached ``head``, differs from its rebuild; that is made in ``folder``."""
    expected = await _rebuilt_index(log, head, folder, settings.index_size_mb)
    differs = index_lines(settings.data_dir / f"index-{node}", settings.index_size_mb) != expected
    return [f"the index of {node} is not what a rebuild makes of the log"] if differs else []


def index_lines(folder: Path, size_mb: int) -> dict[bytes, bytes]:
    """Return every line of a node's index; of its checkpoint all but the offset, which is the log's and not the fact's.

    May be called while another process writes it.
    """
    index = open_index_for_reading(folder, generation=VerificationProjection.generation, size_mb=size_mb)
    try:
        return _lines(index)
    finally:
        index.close()


def _lines(index: LmdbIndex) -> dict[bytes, bytes]:
    with index.environment.begin() as transaction:
        lines = {bytes(key): bytes(line) for key, line in transaction.cursor()}
        checkpoint = index.checkpoint_in(transaction)
    return lines | {index.checkpoint_key: repr(msgspec.structs.replace(checkpoint, next_offset=0)).encode()}


async def _rebuilt_directory(log: EventLog, head: int, folder: Path) -> list[tuple[Any, ...]]:
    url = f"sqlite:///{folder / 'rebuilt-directory.db'}"
    store = store_at(url)
    try:
        await store.prepare()
        await _fold(head, KeyDirectory(), store, log)
    finally:
        await store.close()
    return await rows_of(url)


async def _rebuilt_index(log: EventLog, head: int, folder: Path, size_mb: int) -> dict[bytes, bytes]:
    projection = VerificationProjection()
    index = open_index(folder / "rebuilt-index", generation=projection.generation, size_mb=size_mb)
    try:
        await _fold(head, projection, index, log)
        return _lines(index)
    finally:
        index.close()


async def _fold(head: int, projection: Projection[Any], model: ReadModel[Any], log: EventLog) -> None:
    """Fold the log up to ``head`` into a read model of this process; raises what stops the runner before."""
    runner = ProjectionRunner(projection, model, log, clock=SystemClock())
    try:
        async with asyncio.timeout(FOLDED_SECONDS):
            await runner.reach(head)
    except TimeoutError:
        raise AssertionError(f"the fold is at {runner.position} of {head} after {FOLDED_SECONDS:.0f} s") from None
