"""Writers of the embedded log are killed while they append."""

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.testing.eventlog_suite import read
from tests.conformance.eventlog.embedded_writer import BATCH, TOPIC

DEADLINE_SECONDS = 60
ACKNOWLEDGED = 200
WRITER = Path(__file__).with_name("embedded_writer.py")


async def write_until_killed(path: Path, name: str) -> dict[int, str]:
    """Return what the writer was told is there: by offset the value."""
    writer = await asyncio.create_subprocess_exec(sys.executable, str(WRITER), str(path), name, stdout=PIPE)
    assert writer.stdout is not None
    async with asyncio.timeout(DEADLINE_SECONDS):
        lines = [await writer.stdout.readline() for _ in range(ACKNOWLEDGED)]
        writer.kill()
        lines += (await writer.stdout.read()).splitlines(keepends=True)
        assert await writer.wait() == -signal.SIGKILL, "it ended by itself"
    # A line without its end was being written when the process died.
    pairs = [line.split() for line in lines if line.endswith(b"\n")]
    return {int(offset): f"{name}.{int(number)}" for offset, number in pairs}


async def test_a_killed_writer_loses_nothing_that_was_acknowledged_and_leaves_no_gap(tmp_path: Path) -> None:
    path = tmp_path / "log.db"
    acknowledged: dict[int, str] = {}
    for life in range(3):
        # Two processes write to the file at once, and both are killed.
        for answers in await asyncio.gather(*(write_until_killed(path, f"{name}{life}") for name in "ab")):
            assert not acknowledged.keys() & answers.keys()
            acknowledged |= answers
    log = await EmbeddedLog.open(path)
    first, end = await log.bounds(TOPIC.name, 0)
    found = await read(await log.reader(TOPIC.name, 0, first), end)
    assert [record.offset for record in found] == list(range(end))
    texts = [(record.value or b"").decode() for record in found]
    assert {offset: texts[offset] for offset in acknowledged} == acknowledged
    # A batch is there as a whole or not at all, and nothing is there twice.
    for batch in (texts[start : start + BATCH] for start in range(0, end, BATCH)):
        writer, _, number = batch[0].partition(".")
        assert batch == [f"{writer}.{int(number) + place}" for place in range(BATCH)]
    assert len(set(texts)) == len(texts)
    await log.close()


async def test_a_reader_sees_what_another_process_appends_while_it_appends(tmp_path: Path) -> None:
    log = await EmbeddedLog.open(tmp_path / "log.db")
    await log.ensure_topics([TOPIC])
    reader = await log.reader(TOPIC.name, 0, 0)
    following = asyncio.create_task(read(reader, ACKNOWLEDGED * BATCH, max_records=7))
    await write_until_killed(tmp_path / "log.db", "a")
    assert [record.offset for record in await following] == list(range(ACKNOWLEDGED * BATCH))
    await log.close()
