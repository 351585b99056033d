"""The verification index: an LMDB file on this node, written by one projector and read by every check.

What is promised: a check sees one committed transaction, whole, together with the position it stands for. After a
crash of the process the last commit is there, since the pages are the kernel's. After a crash of the *machine* nothing
is promised (``sync=False``: the log is the durability), so the index is discarded then. Whether the machine crashed is
known by a mark beside the data: the boot id of whoever has the index open, durable before the first write, removed
after the last byte was synced.
"""

import fcntl
import logging
import os
import shutil
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from itertools import takewhile
from pathlib import Path
from typing import Final
from uuid import uuid4

import lmdb
import msgspec

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, Parked, ReadModelUnavailable, Versioned
from keyledger.verification.records import (
    ParkedRecord,
    Record,
    Stored,
    StoredRecord,
    decode_stored,
    encode_stored,
)

log = logging.getLogger(__name__)

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
MAX_READERS: Final = 1024
SPARE_TRANSACTIONS: Final = 16
"""Read transactions kept for renewal: py-lmdb renews one of these at ``begin``, which costs 0.09 us with ``abort``."""

_OF_THE_DISK: Final = (lmdb.DiskError, lmdb.Error)
"""LMDB's own errors have classes; what the system says is a DiskError (ENOSPC) or a bare Error (EIO, EDQUOT, EFBIG)."""
_MARK: Final = "opened-in-boot"
_LOCK: Final = "writer.lock"
_RETRY: Final = "retry-"
_PARKED: Final = b"\x00parked/"

_encode_checkpoint: Final = msgspec.msgpack.Encoder().encode
_decode_checkpoint: Final = msgspec.msgpack.Decoder(Checkpoint).decode
_encode_parked: Final = msgspec.msgpack.Encoder().encode
_decode_parked: Final = msgspec.msgpack.Decoder(Parked).decode


class IndexInUse(Exception):
    """Another writer has this index open: each node needs a folder of its own."""


class IndexUnusable(Exception):
    """The index cannot be opened: its folder may not be written, or the disk is full or failing."""


class IndexFull(Exception):
    """The index has reached its largest size: raise ``KEYLEDGER_INDEX_SIZE_MB`` and start again."""


def read_boot_id() -> str:
    """Return what names this run of the machine's kernel."""
    return BOOT_ID_FILE.read_text(encoding="ascii").strip()


class LmdbIndex:
    """A generation of the index as the runner's read model, and as what the verifier reads.

    ``on_commit`` is called after each commit, with the checkpoint that is now visible to every check.
    """

    def __init__(self, environment: lmdb.Environment, generation: int, *, folder: Path, lock: int | None) -> None:
        self.environment = environment
        self.on_commit: Callable[[Checkpoint], None] = lambda _: None
        self.checkpoint_key = f"\x00checkpoint/{generation}".encode()
        self._folder, self._lock = folder, lock
        self._writing = False

    async def checkpoint(self) -> Checkpoint:
        return self.applied()

    def applied(self) -> Checkpoint:
        """Return the checkpoint of the last commit."""
        transaction = self.environment.begin()
        try:
            return self.checkpoint_in(transaction)
        finally:
            transaction.abort()

    def checkpoint_in(self, transaction: lmdb.Transaction) -> Checkpoint:
        """Return the checkpoint as this transaction sees it."""
        found = transaction.get(self.checkpoint_key)
        return Checkpoint() if found is None else _decode_checkpoint(found)

    async def parked(self) -> dict[str, Parked]:
        with self.environment.begin() as transaction, transaction.cursor() as cursor:
            cursor.set_range(_PARKED)
            marks = takewhile(lambda pair: pair[0].startswith(_PARKED), cursor)
            return {mark.stream: mark for mark in (_decode_parked(value) for _, value in marks)}

    async def request_retry(self, streams: Collection[str]) -> None:
        # A file, since the index itself may be written by its one writer only.
        new = self._folder / f".{_RETRY}{uuid4().hex}"
        new.write_bytes(msgspec.json.encode(sorted(streams)))
        new.rename(new.with_name(new.name[1:]))

    async def take_retry_requests(self) -> frozenset[str]:
        return frozenset(stream for path in self._folder.glob(f"{_RETRY}*") for stream in _take(path))

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator["IndexRows"]:
        """Commit rows and checkpoint together on a clean exit, else roll back everything.

        Raises:
            IndexFull, ReadModelUnavailable (the disk is full or failing): nothing was written.
        """
        if self._writing:
            # LMDB's writer lock is the thread's: waiting for it here would stop the loop that has to free it.
            raise RuntimeError("the index has one writer, and it is in a transaction already")
        self._writing = True
        try:
            with self.environment.begin(write=True) as transaction:
                yield IndexRows(transaction, self)
        except lmdb.MapFullError as error:
            raise IndexFull(f"{self._folder} cannot grow any more: raise KEYLEDGER_INDEX_SIZE_MB") from error
        except lmdb.Error as error:
            if type(error) not in _OF_THE_DISK:
                raise
            raise ReadModelUnavailable(f"{self._folder}: {error}") from error
        finally:
            self._writing = False
        self.on_commit(self.applied())

    def close(self) -> None:
        """Close; by the writer everything is synced, and marked so."""
        if self._lock is None:
            self.environment.close()
            return
        self.environment.sync(True)
        self.environment.close()
        (self._folder / _MARK).unlink(missing_ok=True)
        _sync(self._folder)
        os.close(self._lock)
        self._lock = None


class IndexRows:
    """One open write transaction."""

    def __init__(self, transaction: lmdb.Transaction, index: LmdbIndex) -> None:
        self._transaction, self._index = transaction, index

    async def load(self, streams: Collection[str]) -> dict[str, Versioned[Record]]:
        found = ((stream, self._transaction.get(stream.encode())) for stream in streams)
        stored = ((stream, decode_stored(line)) for stream, line in found if line is not None)
        return {stream: Versioned(line.version, _folded(line.row)) for stream, line in stored}

    async def save(self, changed: Mapping[str, Versioned[Record]]) -> None:
        # In the order of keys, LMDB touches each page once.
        for stream in sorted(changed):
            line = changed[stream]
            self._transaction.put(stream.encode(), encode_stored(Stored(line.version, line.row)))

    async def park(self, parked: Collection[Parked]) -> None:
        for mark in parked:
            line = self._transaction.get(mark.stream.encode())
            last = Stored(0, None) if line is None else decode_stored(line)
            denied = Stored(last.version, ParkedRecord(_folded(last.row)))
            self._transaction.put(mark.stream.encode(), encode_stored(denied))
            self._transaction.put(_PARKED + mark.stream.encode(), _encode_parked(mark))

    async def release(self, streams: Collection[str]) -> None:
        for stream in streams:
            line = self._transaction.get(stream.encode())
            if line is not None and self._transaction.delete(_PARKED + stream.encode()):
                last = decode_stored(line)
                if last.version == 0:
                    self._transaction.delete(stream.encode())
                else:
                    self._transaction.put(stream.encode(), encode_stored(Stored(last.version, _folded(last.row))))

    async def move_checkpoint(self, *, expected: Checkpoint, new: Checkpoint) -> None:
        actual = self._index.checkpoint_in(self._transaction)
        if actual != expected:
            raise CheckpointMoved(f"the index is at position {actual.position}, not {expected.position}")
        self._transaction.put(self._index.checkpoint_key, _encode_checkpoint(new))


def open_index(folder: Path, *, generation: int, size_mb: int, boot_id: str | None = None) -> LmdbIndex:
    """Open a node's index for its one writer, in a folder of the generation's own; discard what may be corrupt.

    ``size_mb`` is the most it may grow to, in MiB; the file grows only as it fills. ``boot_id``: that of the machine.

    Raises:
        IndexInUse: another process, or this one, has it open for writing.
        IndexUnusable, OSError: its folder cannot be written.
    """
    mine = _generation_folder(folder, generation)
    mine.mkdir(parents=True, exist_ok=True)
    lock = _lock(mine)
    try:
        boot = read_boot_id() if boot_id is None else boot_id
        _discard_after_machine_crash(mine, boot)
        _write_durably(mine / _MARK, boot)
        environment = lmdb.open(
            str(mine / "data"),
            map_size=size_mb << 20,
            sync=False,
            max_readers=MAX_READERS,
            max_spare_txns=SPARE_TRANSACTIONS,
        )
        # Slots of readers that were killed would pin old pages, and the file would grow without end.
        environment.reader_check()
    except lmdb.Error as error:
        os.close(lock)
        raise IndexUnusable(f"the index in {mine} cannot be opened: {error}") from error
    except BaseException:
        os.close(lock)
        raise
    return LmdbIndex(environment, generation, folder=mine, lock=lock)


def open_index_for_reading(folder: Path, *, generation: int, size_mb: int) -> LmdbIndex:
    """Open an index that another process on this machine writes. Open it after a fork, and with the writer's size."""
    mine = _generation_folder(folder, generation)
    environment = lmdb.open(
        str(mine / "data"),
        map_size=size_mb << 20,
        readonly=True,
        create=False,
        max_readers=MAX_READERS,
        max_spare_txns=SPARE_TRANSACTIONS,
    )
    environment.reader_check()
    return LmdbIndex(environment, generation, folder=mine, lock=None)


def _take(request: Path) -> list[str]:
    streams = msgspec.json.decode(request.read_bytes(), type=list[str])
    request.unlink()
    return streams


def _folded(row: StoredRecord | None) -> Record | None:
    return row.last if isinstance(row, ParkedRecord) else row


def _generation_folder(folder: Path, generation: int) -> Path:
    return folder / f"generation-{generation}"


def _discard_after_machine_crash(folder: Path, boot_id: str) -> None:
    mark, data = folder / _MARK, folder / "data"
    if not mark.exists() or not data.exists():
        return
    opened_in = mark.read_text(encoding="ascii").strip()
    if opened_in != boot_id:
        log.warning("discarding the index in %s: the machine went down while it was open; it is rebuilt now", folder)
        shutil.rmtree(data)
        _sync(folder)


def _lock(folder: Path) -> int:
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise IndexInUse(f"the index in {folder} is open already: each node needs a folder of its own") from None
    return descriptor


def _write_durably(path: Path, text: str) -> None:
    # The mark says "may be corrupt" from before the first unsynced write on, so it has to reach the disk before it.
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _sync(path.parent)


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
