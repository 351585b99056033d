import asyncio
from itertools import pairwise

from tests.conformance.eventstore.writers import Writer, written

ANSWERS = 1_500


async def test_two_processes_write_one_order_without_gaps(database: str) -> None:
    writers = [await Writer.start(database, name, appends=1_000_000, callers=8) for name in ("left", "right")]
    for writer in writers:
        writer.go()
    await asyncio.gather(*(writer.until_answered(ANSWERS) for writer in writers))
    for writer in writers:
        writer.enough()
    await asyncio.gather(*(writer.finish() for writer in writers))

    rows = await written(database)  # checks the chain: positions without gaps, hashes, versions

    where = {append_id: position for position, (append_id, _) in enumerate(rows, start=1)}
    assert len(where) == len(rows), "each once"
    assert writers[0].answered | writers[1].answered == where, "where its answer said"
    turns = sum(a[0].split("-")[0] != b[0].split("-")[0] for a, b in pairwise(rows))
    # Of what each had to write: while the machine lets one stand still, the other writes on alone.
    assert turns >= 2 * ANSWERS / 50, "they took turns: neither starved the other"
