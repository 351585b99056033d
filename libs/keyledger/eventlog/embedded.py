"""The log without a broker: one SQLite file, written and read by the processes of one machine."""

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, Self, TypeVar

from keyledger.contracts.topics import Topic
from keyledger.eventlog.logfile import PAGE_BYTES, Appended, LogFile, Send
from keyledger.eventlog.packing import pack, unpack
from keyledger.eventlog.port import LogUnavailable, NewRecord, Record
from keyledger.eventlog.recent import Recent
from keyledger.eventlog.tails import Tails

T = TypeVar("T")

_log = logging.getLogger(__name__)

CHECKPOINT_PAGES: Final = 1_000
"""After how many written pages they are copied back from the write-ahead file. SQLite would do it inside an append,
which then waits for two syncs of the disk, and with it whoever waits for a revocation."""
_PAGES_OF_A_SEND: Final = 3
PRUNE_RECORDS: Final = 5_000
"""How many records one transaction of ``prune`` deletes: appends wait for one such at most."""


def system_microseconds() -> int:
    """Return the time of this machine, in microseconds since 1970."""
    return time.time_ns() // 1_000


class EmbeddedLog:
    """Topics, partitions and offsets in one file (WAL, ``synchronous=NORMAL``), with the promises of a broker.

    An acknowledged batch survives the end of the process, however it ends; a power cut can take the last ones.
    Offsets of a partition are 0, 1, 2 ... without gaps. Batches appear as a whole. Belongs to the event loop it was
    opened in.
    """

    def __init__(self, files: tuple[LogFile, LogFile, LogFile], *, now: Callable[[], int], poll_seconds: float) -> None:
        self._writing, self._reading, self._copying = files
        self._now = now
        self._poll_seconds = poll_seconds
        # One thread each: SQLite has one writer anyway, and a reader does not wait for it (WAL).
        self._writer = ThreadPoolExecutor(1, "keyledger-log-writer")
        self._reader = ThreadPoolExecutor(1, "keyledger-log-reader")
        self._copier = ThreadPoolExecutor(1, "keyledger-log-checkpoint")
        self._pages = 0
        self._checkpointing: asyncio.Task[None] | None = None
        self._waiting: list[tuple[Send, asyncio.Future[int]]] = []
        self._committing: asyncio.Task[None] | None = None
        self._tails = Tails()
        self._recent = Recent()
        self._watching = asyncio.create_task(self._watch(), name="keyledger-log-watch")
        self._closed = False

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        now: Callable[[], int] = system_microseconds,
        busy_seconds: float = 5.0,
        poll_seconds: float = 0.02,
    ) -> Self:
        """Open the log, making its file and folder where there are none.

        Args:
            path: the file; beside it SQLite keeps ``-wal`` and ``-shm``. Not on a network file system.
            now: the wall clock, in microseconds since 1970 (``Clock.now``).
            busy_seconds: how long an append waits for another process's transaction.
            poll_seconds: how soon readers see what another process appended. What this one appends wakes them at once.

        Raises:
            LogUnavailable: the file cannot be opened, is none of ours, or is of another format.
        """

        def files() -> tuple[LogFile, LogFile, LogFile]:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                # Digests are in here: its owner's alone. SQLite gives -wal and -shm the same mode.
                path.touch(mode=0o600)
            except OSError as error:
                raise LogUnavailable(f"{path}: {error.strerror}") from error
            with contextlib.ExitStack() as opened:
                writing, reading, copying = (
                    opened.enter_context(contextlib.closing(LogFile(path, busy_seconds=busy_seconds))) for _ in range(3)
                )
                opened.pop_all()
            return writing, reading, copying

        return cls(await asyncio.to_thread(files), now=now, poll_seconds=poll_seconds)

    async def ensure_topics(self, topics: Sequence[Topic]) -> None:
        await self._run(self._writer, lambda: self._writing.ensure_topics(topics))

    async def producer(self) -> "EmbeddedProducer":
        return EmbeddedProducer(self)

    async def reader(self, topic: str, partition: int, offset: int) -> "EmbeddedReader":
        return EmbeddedReader(self, topic, partition, offset)

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return await self._run(self._reader, lambda: self._reading.bounds(topic, partition))

    async def trim(self, topic: str, partition: int, before: int) -> None:
        await self._run(self._writer, lambda: self._writing.trim(topic, partition, before))
        self._recent.forget()

    async def prune(self) -> int:
        """Delete what is older than its topic keeps; return how many records. One process should call it at a time.

        Raises:
            LogUnavailable: the file cannot be written now; what was deleted so far stays deleted.
        """
        deleted = 0
        while True:
            chunk = await self._run(self._writer, lambda: self._writing.prune(self._now() // 1_000, PRUNE_RECORDS))
            deleted += chunk
            if chunk:
                self._recent.forget()
            if chunk < PRUNE_RECORDS:
                return deleted

    async def append(self, send: Send) -> int:
        """Append with everything else that waits while the last transaction runs; return the last record's offset."""
        self._must_be_open()
        answer: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((send, answer))
        if self._committing is None:
            self._committing = asyncio.create_task(self._commit_waiting(), name="keyledger-log-commit")
        return await answer

    async def read(self, topic: str, partition: int, offset: int, max_records: int) -> list[Record]:
        """Return what is there from the offset on, at once. Raises OffsetOutOfRange, LogUnavailable."""
        recent = self._recent.read((topic, partition), offset, max_records)
        if recent:
            self._must_be_open()
            return recent
        rows, end = await self._run(self._reader, lambda: self._reading.read(topic, partition, offset, max_records))
        self._tails.advance({(topic, partition): end})
        return unpack(topic, partition, rows, offset, max_records)

    def end(self, topic: str, partition: int) -> int | None:
        """Return the end as far as it is known without looking."""
        return self._tails.end((topic, partition))

    async def grown(self, topic: str, partition: int, offset: int, timeout_seconds: float) -> bool:
        """Say whether the partition holds the offset, waiting for it up to the timeout. Raises LogUnavailable."""
        self._must_be_open()
        return await self._tails.reached((topic, partition), offset, timeout_seconds)

    async def close(self) -> None:
        """Finish what was accepted, then close the file. Waiting readers get LogUnavailable."""
        if self._closed:
            return
        self._closed = True
        if self._committing is not None:
            await self._committing
        self._watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._watching
        self._tails.fail(LogUnavailable("the log was closed"))
        if self._checkpointing is not None:
            await self._checkpointing
        for thread, file in (
            (self._copier, self._copying),
            (self._reader, self._reading),
            (self._writer, self._writing),
        ):
            await asyncio.get_running_loop().run_in_executor(thread, file.close)
            thread.shutdown()

    async def _commit_waiting(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                await self._commit(batch)
        finally:
            self._committing = None

    async def _commit(self, batch: list[tuple[Send, asyncio.Future[int]]]) -> None:
        sends = [send for send, _ in batch]
        now_ms = self._now() // 1_000
        loop = asyncio.get_running_loop()

        def append() -> list[int | LogUnavailable]:
            appended = self._writing.append(sends, now_ms)
            # Readers are woken from here: our own waking up would be a turn of the loop more.
            loop.call_soon_threadsafe(self._committed, sends, appended, now_ms)
            return appended.answers

        try:
            answers = await self._in_thread(self._writer, append)
        except Exception as error:  # noqa: BLE001 - not swallowed: whatever it was, every waiting caller gets it
            for _, waiting in batch:
                if not waiting.done():
                    waiting.set_exception(error)
            return
        for (_, waiting), answer in zip(batch, answers, strict=True):
            if waiting.done():
                continue  # its caller gave up; the records are there
            if isinstance(answer, int):
                waiting.set_result(answer)
            else:
                waiting.set_exception(answer)

    def _committed(self, sends: Sequence[Send], appended: Appended, now_ms: int) -> None:
        for send, answer in zip(sends, appended.answers, strict=True):
            if isinstance(answer, int):
                first = answer + 1 - len(send.records)
                self._recent.add((send.topic, send.partition), first, now_ms, send.records)
        self._tails.advance(appended.ends)
        self._pages += _PAGES_OF_A_SEND * len(sends) + appended.size_bytes // PAGE_BYTES
        if self._pages >= CHECKPOINT_PAGES and self._checkpointing is None:
            self._pages = 0
            self._checkpointing = asyncio.create_task(self._checkpoint(), name="keyledger-log-checkpoint")

    async def _checkpoint(self) -> None:
        try:
            await self._in_thread(self._copier, self._copying.checkpoint)
        except LogUnavailable as error:
            # Nothing is lost: it stays in the write-ahead file, and the next time is soon.
            _log.warning("the log's write-ahead file could not be copied back: %s", error)
        finally:
            self._checkpointing = None

    async def _watch(self) -> None:
        """Wake readers for what other connections append; SQLite has no way to be told."""
        while True:
            await asyncio.sleep(self._poll_seconds)
            try:
                self._tails.advance(await self._in_thread(self._reader, self._reading.changed_ends))
            except Exception as error:  # noqa: BLE001 - not swallowed: whoever waits gets it, and the watch goes on
                self._tails.fail(error)

    async def _run(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        self._must_be_open()
        return await self._in_thread(thread, work)

    def _must_be_open(self) -> None:
        if self._closed:
            raise LogUnavailable("the log was closed")

    async def _in_thread(self, thread: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(thread, work)


class EmbeddedProducer:
    """Appends in the order of its calls."""

    def __init__(self, log: EmbeddedLog) -> None:
        self._log = log
        self._closed = False

    async def send(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        rows = pack(records)
        if self._closed:
            raise LogUnavailable("the producer was closed")
        return await self._log.append(Send(topic, partition, records, rows))

    async def close(self) -> None:
        self._closed = True


class EmbeddedReader:
    """Reads one partition; woken by the append itself."""

    def __init__(self, log: EmbeddedLog, topic: str, partition: int, offset: int) -> None:
        self._log = log
        self._place = (topic, partition)
        self._offset = offset
        self._closed = False

    async def poll(self, *, max_records: int, timeout_seconds: float) -> list[Record]:
        if self._closed:
            raise LogUnavailable("the reader was closed")
        # Not at the end as far as is known: behind it, beyond it, or never looked. The file says which.
        found = [] if self._log.end(*self._place) == self._offset else await self._read(max_records)
        if not found and await self._log.grown(*self._place, self._offset, timeout_seconds):
            found = await self._read(max_records)
        return found

    async def _read(self, max_records: int) -> list[Record]:
        found = await self._log.read(*self._place, self._offset, max_records)
        if found:
            self._offset = found[-1].offset + 1
        return found

    async def close(self) -> None:
        self._closed = True
