"""The verification index: an LMDB file on this node, written by one projector and read by every check.

What is promised: a check sees one committed transaction, whole, together with the position it stands for. After a
crash of the process the last commit is there, since the pages are the kernel's. After a crash of the *machine* nothing
is promised (``sync=False``: the log is the durability), so the index is discarded then (``index_notes``).
"""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path
from typing import Final

import lmdb
from msgspec import Struct

from keyledger.projections.generations import own_generation
from keyledger.projections.port import Checkpoint, Generation, Parked, ReadModel, ReadModelUnavailable
from keyledger.verification import index_notes
from keyledger.verification.index_files import IndexFiles, IndexInUse, lock_folder
from keyledger.verification.index_rows import IndexRows, checkpoint_in, parked_in
from keyledger.verification.records import Record

log = logging.getLogger(__name__)

MAX_READERS: Final = 1024
SPARE_TRANSACTIONS: Final = 16
"""Read transactions kept for renewal: py-lmdb renews one of these at ``begin``, which costs 0.09 us with ``abort``."""

_OF_THE_DISK: Final = (lmdb.DiskError, lmdb.Error)
"""LMDB's own errors have classes; what the system says is a DiskError (ENOSPC) or a bare Error (EIO, EDQUOT, EFBIG)."""


class IndexUnusable(Exception):
    """The index cannot be opened: its folder may not be written, or the disk is full or failing."""


class IndexFull(Exception):
    """The index has reached its largest size: raise ``KEYLEDGER_INDEX_SIZE_MB`` and start again."""


class LmdbIndex:
    """A generation of the index as the runner's read model, and as what the verifier reads.

    ``on_commit`` is called after each commit, with the checkpoint that is now visible to every check.
    """

    def __init__(
        self,
        environment: lmdb.Environment,
        generation: Generation,
        *,
        folder: Path,
        lock: int | None,
        others: "OtherGenerations | None" = None,
    ) -> None:
        self.environment, self.generation = environment, generation
        self.on_commit: Callable[[Checkpoint], None] = lambda _: None
        self.checkpoint_key = f"\x00checkpoint/{generation.number}".encode()
        self._folder, self._lock, self._others = folder, lock, others
        self._writing = False
        self._successor: LmdbIndex | None = None
        self._replaced: LmdbIndex | None = None

    @property
    def was_whole(self) -> bool:
        """Whether it ever held all of the ledger that there was, whoever wrote it then: else it was never filled."""
        return index_notes.was_whole(self._folder)

    def note_whole(self) -> None:
        """Note that it holds all that the ledger held a moment ago."""
        index_notes.note_whole(self._folder)

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
        return checkpoint_in(transaction, self.checkpoint_key)

    async def parked(self) -> dict[str, Parked]:
        with self.environment.begin() as transaction:
            return parked_in(transaction)

    async def request_retry(self, streams: Collection[str]) -> None:
        index_notes.request_retry(self._folder, streams)

    async def take_retry_requests(self) -> frozenset[str]:
        return index_notes.take_retry_requests(self._folder)

    async def successor(self) -> "LmdbIndex | None":
        if self._others is None:
            return None
        files = self._others.files
        if self._replaced is not None:
            # Not at the switch: a check that was begun before it may still read.
            replaced, self._replaced = self._replaced, None
            replaced.abandon()
            await self._remove(replaced.generation)
        serving = files.serving()
        if serving != self.generation:
            if self.applied().position >= self._others.position:
                files.serve(self.generation)
                if serving is not None:
                    await self._remove(serving)
            return None
        offered = files.offered()
        if self._successor is None and offered is not None and offered.number == self.generation.number:
            try:
                self._successor = _open_generation(files, offered, self._others.size_mb, None)
            except IndexInUse:
                return None  # whoever built it has not let go of it yet
            except (IndexUnusable, OSError) as error:  # most often it was built by another user
                files.withdraw()
                log.error("generation %s of the index was built, but cannot be opened: %s", offered, error)  # noqa: TRY400 - the reason is enough
        return self._successor

    async def _remove(self, generation: Generation) -> None:
        if self._others is not None:
            with suppress(IndexInUse):  # an older program still has it: the next start removes it
                await asyncio.to_thread(self._others.files.remove, generation)

    async def switch(self, successor: ReadModel[Record]) -> None:
        if not isinstance(successor, LmdbIndex) or self._others is None:
            raise TypeError(f"{successor} cannot take the place of {self._folder}")
        if self.was_whole:  # and it is as far
            successor.note_whole()
        self._others.files.serve(successor.generation)
        self._replaced = LmdbIndex(self.environment, self.generation, folder=self._folder, lock=self._lock)
        self.environment, self.generation = successor.environment, successor.generation
        self._folder, self._lock, self._successor = successor._folder, successor._lock, None  # noqa: SLF001 - its own kind
        self.on_commit(self.applied())

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
                yield IndexRows(transaction, self.checkpoint_key)
        except lmdb.MapFullError as error:
            raise IndexFull(f"{self._folder} cannot grow any more: raise KEYLEDGER_INDEX_SIZE_MB") from error
        except lmdb.Error as error:
            if type(error) not in _OF_THE_DISK:
                raise
            raise ReadModelUnavailable(f"{self._folder}: {error}") from error
        finally:
            self._writing = False
        self.on_commit(self.applied())

    def abandon(self) -> None:
        """Close what is to be deleted: to sync it would hold up the checks for nothing."""
        self.environment.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def close(self) -> None:
        """Close; by the writer everything is synced, and marked so."""
        for other in (self._successor, self._replaced):
            if other is not None:
                other.close()
        self._successor = self._replaced = None
        if self._lock is None:
            self.environment.close()
            return
        self.environment.sync(True)
        self.environment.close()
        index_notes.note_closed(self._folder)
        os.close(self._lock)
        self._lock = None


class OtherGenerations(Struct, frozen=True):
    """The generations beside an open one: their files, and the position from which on it takes their place."""

    files: IndexFiles
    size_mb: int
    position: int = 0


def open_index(folder: Path, *, generation: int, size_mb: int, boot_id: str | None = None) -> LmdbIndex:
    """Open a node's index for its one writer: the serving generation, if it is of this program's number ``generation``.

    Else this program's own is built beside it, and takes its place once it is as far. What may be corrupt is discarded.
    ``size_mb`` is the most it may grow to, in MiB; the file grows only as it fills. ``boot_id``: that of the machine.

    Raises:
        IndexInUse: another process, or this one, has it open for writing.
        IndexUnusable, OSError: its folder cannot be written.
    """
    files = IndexFiles(folder)
    serving = files.serving()
    mine = own_generation(files.held(), serving, generation)
    position = 0 if serving in (None, mine) else _position_of(files, serving, size_mb)
    opened = _open_generation(files, mine, size_mb, boot_id, others=OtherGenerations(files, size_mb, position))
    if serving in (None, mine):
        files.serve(mine)
        for older in (one for one in files.held() if one < mine):
            with suppress(IndexInUse):
                files.remove(older)
    return opened


def open_index_for_reading(folder: Path, *, generation: int, size_mb: int) -> LmdbIndex:
    """Open the serving generation, which another process on this machine writes: after a fork, with the writer's size.

    It shows that generation alone: who reads for long opens it anew from time to time. ``generation``: this program's
    number, for a node that has none yet. Raises lmdb.Error: there is nothing to read.
    """
    files = IndexFiles(folder)
    return read_generation(files, files.serving() or Generation(generation), size_mb=size_mb)


def read_generation(files: IndexFiles, generation: Generation, *, size_mb: int) -> LmdbIndex:
    """Open one generation for reading, whoever writes it. Raises lmdb.Error: there is nothing to read."""
    folder = files.of(generation)
    environment = lmdb.open(
        str(folder / "data"),
        map_size=size_mb << 20,
        readonly=True,
        create=False,
        max_readers=MAX_READERS,
        max_spare_txns=SPARE_TRANSACTIONS,
    )
    environment.reader_check()
    return LmdbIndex(environment, generation, folder=folder, lock=None)


def build_generation(files: IndexFiles, generation: Generation, *, size_mb: int) -> LmdbIndex:
    """Open a generation that is built beside the serving one. Raises what ``open_index`` raises."""
    return _open_generation(files, generation, size_mb, None)


def _open_generation(
    files: IndexFiles,
    generation: Generation,
    size_mb: int,
    boot_id: str | None,
    *,
    others: OtherGenerations | None = None,
) -> LmdbIndex:
    folder = files.of(generation)
    folder.mkdir(parents=True, exist_ok=True)
    lock = lock_folder(folder)
    try:
        index_notes.note_opened(folder, index_notes.read_boot_id() if boot_id is None else boot_id)
        environment = lmdb.open(
            str(folder / "data"),
            map_size=size_mb << 20,
            sync=False,
            max_readers=MAX_READERS,
            max_spare_txns=SPARE_TRANSACTIONS,
        )
        # Slots of readers that were killed would pin old pages, and the file would grow without end.
        environment.reader_check()
    except lmdb.Error as error:
        os.close(lock)
        raise IndexUnusable(f"the index in {folder} cannot be opened: {error}") from error
    except BaseException:
        os.close(lock)
        raise
    return LmdbIndex(environment, generation, folder=folder, lock=lock, others=others)


def _position_of(files: IndexFiles, generation: Generation, size_mb: int) -> int:
    """Return how far a generation is; 0 where it cannot be read."""
    try:
        index = read_generation(files, generation, size_mb=size_mb)
    except lmdb.Error:
        return 0
    with closing(index):
        return index.applied().position
