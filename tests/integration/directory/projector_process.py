"""The directory's projector as a process that a test may kill: ``... LOG_URL TOPIC DATABASE_URL [--checkpoint-first]``.

``--checkpoint-first`` is the naive way, for showing that the test notices it.
"""

import asyncio
import sys
from typing import Any

from sqlalchemy import text

from keyledger.eventlog.opening import open_log
from keyledger.projections.port import ReadModel
from keyledger.projections.runner import ProjectionRunner
from keyledger.projections.sql import open_engine
from keyledger.runtime.clock import SystemClock
from keyledger.testing.read_model_suite import CheckpointFirst
from keyledger_directory.projector import GENERATION, KeyDirectory
from keyledger_directory.store import DirectoryStore

BATCH = 50
"""Small, so that kills meet many transactions."""


def store_at(url: str, *, generation: int = GENERATION) -> DirectoryStore:
    return DirectoryStore(open_engine(url, schema="directory"), generation=generation)


async def rows_of(url: str) -> list[tuple[Any, ...]]:
    """Return everything the directory's tables hold, in a fixed order; of the checkpoint all but the log's offset."""
    schema = "" if url.startswith("sqlite") else "directory."
    engine = open_engine(url)
    async with engine.connect() as connection:
        serving = f"FROM {schema}projection_generations WHERE name = 'directory' AND state = 'serving'"
        number, build = (await connection.execute(text(f"SELECT generation, build {serving}"))).one()
        table = f"{schema}api_keys_{number}_{build}"
        found = [
            (await connection.execute(text(f"SELECT * FROM {name} ORDER BY id"))).all()  # noqa: S608 - ours
            for name in (table, f"{table}_users")
        ]
        marks = (await connection.execute(text(f"SELECT name, generation, store, position, hash {serving}"))).all()
    await engine.dispose()
    return [tuple(row) for row in (*found[0], *found[1], *marks)]


async def project(log_url: str, topic: str, database_url: str, *, naive: bool = False, batch: int = BATCH) -> None:
    log, store = await open_log(log_url), store_at(database_url)
    try:
        await store.prepare()
        model: ReadModel[Any] = CheckpointFirst(store) if naive else store
        await ProjectionRunner(KeyDirectory(), model, log, clock=SystemClock(), topic=topic, max_batch=batch).run()
    finally:
        await store.close()
        await log.close()


if __name__ == "__main__":
    asyncio.run(project(*sys.argv[1:4], naive="--checkpoint-first" in sys.argv))
