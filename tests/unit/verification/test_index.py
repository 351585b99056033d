import asyncio
import logging
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from keyledger.projections.port import Checkpoint, ReadModel, ReadModelUnavailable, Versioned
from keyledger.testing.read_model_suite import Open, ReadModelSuite, at, commit, key, load
from keyledger.verification.index import IndexFull, LmdbIndex, open_index
from keyledger.verification.index_files import IndexInUse
from keyledger.verification.records import KeyRecord, OwnerRecord, Record, SecretRecord
from tests.full_disk import no_room_beyond

SIZE_MB = 32


def opened(folder: Path, *, boot_id: str | None = None, generation: int = 1) -> LmdbIndex:
    return open_index(folder, generation=generation, size_mb=SIZE_MB, boot_id=boot_id)


def example(number: int) -> Record:
    if number % 2:
        return OwnerRecord(f"org_{number}", "user", ("viewer",))
    secret = SecretRecord(f"{number}", "master", bytes([number % 256]) * 32, None if number % 3 else number)
    return KeyRecord("org", "team", "team", "team", f"Ключ № {number}", "viewer", "prod", number, number, (secret,))


class TestTheIndexAsAReadModel(ReadModelSuite):
    @pytest.fixture
    def open_model(self, tmp_path: Path) -> Open:
        @asynccontextmanager
        async def open_model() -> AsyncIterator[ReadModel[Record]]:
            index = opened(tmp_path)
            try:
                yield index
            finally:
                index.close()

        return open_model

    def example(self, number: int) -> Record:
        return example(number)


async def filled(folder: Path, *, boot_id: str) -> None:
    index = opened(folder, boot_id=boot_id)
    await commit(index, {key(1): Versioned(1, example(1))}, expected=Checkpoint(), new=at(1))
    index.close()


async def test_after_a_clean_close_the_index_is_kept_also_by_another_boot(tmp_path: Path) -> None:
    await filled(tmp_path, boot_id="first")
    index = opened(tmp_path, boot_id="second")
    assert await index.checkpoint() == at(1)
    index.close()


async def test_after_a_machine_crash_the_index_is_rebuilt_from_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await filled(tmp_path, boot_id="first")
    crashed = opened(tmp_path, boot_id="first")
    crashed.environment.close()
    _free(crashed)
    with caplog.at_level(logging.WARNING):
        index = opened(tmp_path, boot_id="second")
    assert await index.checkpoint() == Checkpoint()
    assert await load(index, key(1)) == {}
    assert "rebuilt" in caplog.text
    index.close()


async def test_after_a_process_crash_in_the_same_boot_the_index_is_kept(tmp_path: Path) -> None:
    await filled(tmp_path, boot_id="first")
    crashed = opened(tmp_path, boot_id="first")
    await commit(crashed, {key(1): Versioned(2, example(2))}, expected=at(1), new=at(2))
    crashed.environment.close()
    _free(crashed)
    index = opened(tmp_path, boot_id="first")
    assert await index.checkpoint() == at(2)
    index.close()


def _free(crashed: LmdbIndex) -> None:
    """Let go of the lock as the end of a process does."""
    assert crashed._lock is not None  # noqa: SLF001 - what the kernel does when a process dies
    os.close(crashed._lock)  # noqa: SLF001


def test_an_index_has_one_writer(tmp_path: Path) -> None:
    index = opened(tmp_path)
    with pytest.raises(IndexInUse, match="folder of its own"):
        opened(tmp_path)
    index.close()
    opened(tmp_path).close()


async def test_a_full_index_says_which_setting_to_raise_and_keeps_what_it_had(tmp_path: Path) -> None:
    index = open_index(tmp_path, generation=1, size_mb=1)
    await commit(index, {key(1): Versioned(1, example(1))}, expected=Checkpoint(), new=at(1))
    many = {key(number): Versioned(1, example(number)) for number in range(20_000)}
    with pytest.raises(IndexFull, match="KEYLEDGER_INDEX_SIZE_MB"):
        await commit(index, many, expected=at(1), new=at(2))
    assert await index.checkpoint() == at(1)
    index.close()


async def test_what_a_full_disk_refused_can_be_written_when_there_is_room(tmp_path: Path) -> None:
    index = opened(tmp_path)
    await commit(index, {key(1): Versioned(1, example(1))}, expected=Checkpoint(), new=at(1))
    many = {key(number): Versioned(1, example(number)) for number in range(2_000)}
    data = tmp_path / "generation-1" / "data" / "data.mdb"
    with no_room_beyond(data), pytest.raises(ReadModelUnavailable):
        await commit(index, many, expected=at(1), new=at(2))
    assert await index.checkpoint() == at(1)
    await commit(index, many, expected=at(1), new=at(2))
    assert await load(index, *many) == many
    index.close()


async def test_a_commit_is_announced_once_it_can_be_seen(tmp_path: Path) -> None:
    index = opened(tmp_path)
    announced: list[tuple[Checkpoint, Checkpoint]] = []
    index.on_commit = lambda checkpoint: announced.append((checkpoint, index.applied()))
    await commit(index, {}, expected=Checkpoint(), new=at(1))
    assert announced == [(at(1), at(1))]
    index.close()


WRITER = """
import asyncio, sys
from pathlib import Path
from keyledger.projections.port import Checkpoint, Versioned
from keyledger.testing.read_model_suite import at, commit, key
from keyledger.verification.index import open_index
from keyledger.verification.records import OwnerRecord

async def write():
    index = open_index(Path(sys.argv[1]), generation=1, size_mb=32)
    last, number = Checkpoint(), 0
    while True:
        number += 1
        rows = {key(n): Versioned(number, OwnerRecord(str(number), "user")) for n in range(50)}
        await commit(index, rows, expected=last, new=at(number))
        last = at(number)
        print(number, flush=True)

asyncio.run(write())
"""


async def test_a_killed_writer_leaves_its_last_commit_whole(tmp_path: Path) -> None:
    for attempt in range(3):
        folder = tmp_path / str(attempt)
        writer = await asyncio.create_subprocess_exec(sys.executable, "-c", WRITER, str(folder), stdout=subprocess.PIPE)
        assert writer.stdout is not None
        told = 0
        while told < 20:
            told = int(await asyncio.wait_for(writer.stdout.readline(), 120))
        writer.send_signal(signal.SIGKILL)
        rest, _, _ = (await writer.stdout.read()).rpartition(b"\n")  # what stands behind it is half a line
        told = max([told, *map(int, rest.split())])
        await writer.wait()
        index = opened(folder)
        found = (await index.checkpoint()).position
        assert found >= told
        rows = await load(index, *(key(number) for number in range(50)))
        assert rows == {key(number): Versioned(found, OwnerRecord(str(found), "user")) for number in range(50)}
        index.close()


READER = """
import sys
from pathlib import Path
from keyledger.verification.index import open_index_for_reading
index = open_index_for_reading(Path(sys.argv[1]), generation=1, size_mb=32)
for _ in sys.stdin:
    print(index.applied().position, flush=True)
"""


async def test_another_process_sees_each_commit_at_once(tmp_path: Path) -> None:
    index = opened(tmp_path)
    last = Checkpoint()
    reader = await asyncio.create_subprocess_exec(
        sys.executable, "-c", READER, str(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert reader.stdin is not None
    assert reader.stdout is not None
    for position in (1, 2, 3):
        await commit(index, {key(1): Versioned(position, example(1))}, expected=last, new=at(position))
        last = at(position)
        reader.stdin.write(b"\n")
        assert int(await asyncio.wait_for(reader.stdout.readline(), 120)) == position
    reader.stdin.close()
    await reader.wait()
    index.close()


HOLDER = """
import sys
from pathlib import Path
from keyledger.verification.index import open_index_for_reading
index = open_index_for_reading(Path(sys.argv[1]), generation=1, size_mb=32)
transaction = index.environment.begin()
print("reading", flush=True)
sys.stdin.read()
"""


async def test_a_killed_reader_holds_no_old_pages_once_the_writer_opens_again(tmp_path: Path) -> None:
    await filled(tmp_path, boot_id="one")
    readers = []
    for _ in ("killed", "another, which keeps the table of readers alive"):
        reader = await asyncio.create_subprocess_exec(
            sys.executable, "-c", HOLDER, str(tmp_path), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert reader.stdout is not None
        assert await asyncio.wait_for(reader.stdout.readline(), 120) == b"reading\n"
        readers.append(reader)
    killed, living = readers
    killed.kill()
    await killed.wait()
    index = opened(tmp_path, boot_id="one")
    holders = index.environment.readers().split()
    assert str(killed.pid) not in holders, "else the file would grow without end"
    assert str(living.pid) in holders
    index.close()
    living.kill()
    await living.wait()
