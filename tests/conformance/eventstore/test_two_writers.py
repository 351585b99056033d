import asyncio
from itertools import pairwise

from tests.conformance.eventstore.writers import Writer, written

APPENDS = 2_000


async def test_two_processes_write_one_order_without_gaps(database: str) -> None:
    writers = [await Writer.start(database, name, appends=APPENDS, callers=8) for name in ("left", "right")]
    for writer in writers:
        writer.go()
    await asyncio.gather(*(writer.finish() for writer in writers))

    rows = await written(database)  # checks the chain: positions without gaps, hashes, versions

    assert len(rows) == 2 * APPENDS
    where = {append_id: position for position, (append_id, _) in enumerate(rows, start=1)}
    assert len(where) == len(rows), "each once"
    for writer in writers:
        assert writer.answered.items() <= where.items()
    turns = sum(a[0].split("-")[0] != b[0].split("-")[0] for a, b in pairwise(rows))
    assert turns >= 10, "they wrote at the same time, not one after the other"
