"""Where the read models of these tests are kept, and everything that one holds."""

from pathlib import Path
from typing import Any

from keyledger.projections.sql import open_engine
from keyledger.projections.sql_read_model import SqlReadModel
from keyledger.verification.index import open_index_for_reading
from keyledger.verification.index_rows import lines_in
from keyledger_anomalies.store import AlertStore

INDEX_SIZE_MB = 32


def alerts_at(url: str) -> AlertStore:
    return AlertStore(open_engine(url, schema="anomalies"))


async def held(store: SqlReadModel[Any, Any]) -> list[Any]:
    """Return the rows, the marks, and the checkpoint."""
    async with store.current.snapshot() as (checkpoint, lines):
        return [[line async for line in lines], await store.parked(), checkpoint]


async def held_in_index(folder: Path) -> list[Any]:
    """Return the same of an index that nobody has open in this process."""
    index = open_index_for_reading(folder, generation=1, size_mb=INDEX_SIZE_MB)
    try:
        with index.environment.begin() as transaction:
            lines = list(lines_in(transaction))
        return [lines, await index.parked(), index.applied()]
    finally:
        index.close()
