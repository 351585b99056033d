"""The one writer of a process: group commit without linger.

While one transaction is being made durable, the next appends wait; then all of them go into the next transaction
together. A linger would only add its own length: under load the commit itself is the wait.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Final, Protocol

from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import Outcome
from keyledger.eventstore.checking import check
from keyledger.eventstore.port import (
    Append,
    Appended,
    LedgerError,
    LedgerUnavailable,
    MalformedAppend,
    OutcomeUnknown,
    Replayed,
)

MAX_BATCH_APPENDS: Final = 1_000
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
"""Of events' data: what one transaction, and one wait of the neighbours, may hold."""
PATIENCE_SECONDS: Final = 5.0
"""How long an uncertain commit is pursued before its callers are told so."""
RETRY_SECONDS: Final = 0.05


class CommitUncertain(Exception):
    """The connection broke when the commit had been asked for: it was carried out, or it never will be."""


class BatchRefused(Exception):
    """The database refused a value that ``checking`` let pass. Nothing was written; one of the batch is to blame."""


class Committer(Protocol):
    """A database's side of the writer."""

    async def commit(self, batch: Sequence[Append]) -> Sequence[Outcome]:
        """Admit the batch under the head's lock and make it durable, all in one transaction; connect if need be.

        May be asked again with the same batch: what was written already is found by its append_id and not repeated.

        Raises:
            CommitUncertain: written or not. LedgerUnavailable, BatchRefused: certainly not written.
        """
        ...


_Waiting = tuple[Append, asyncio.Future[Appended | Replayed]]


class GroupCommit:
    """Takes appends from any number of callers and commits them in batches, in the order they came."""

    def __init__(self, committer: Committer, *, clock: Clock) -> None:
        """Start the writer task in the running event loop."""
        self._committer = committer
        self._clock = clock
        self._waiting: deque[_Waiting] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._task = asyncio.create_task(self._run(), name="ledger-writer")

    async def append(self, append: Append) -> Appended | Replayed:
        """As ``port.Ledger.append``. A caller that is cancelled before its batch is taken leaves nothing behind."""
        check(append)
        if self._closing:
            raise LedgerUnavailable("the ledger is closed")
        answer: asyncio.Future[Appended | Replayed] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, answer))
        self._wake.set()
        return await answer

    async def close(self) -> None:
        """Refuse new appends, finish all that wait, and end."""
        self._closing = True
        self._wake.set()
        await asyncio.shield(self._task)

    async def _run(self) -> None:
        while self._waiting or not self._closing:
            batch = self._take()
            if batch:
                await self._settle(batch)
            else:
                self._wake.clear()
                if not self._closing:
                    await self._wake.wait()

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and len(batch) < MAX_BATCH_APPENDS and size < MAX_BATCH_BYTES:
            append, answer = self._waiting.popleft()
            if not answer.done():  # a cancelled caller must not find later that it was carried out after all
                batch.append((append, answer))
                size += sum(len(event.data) for event in append.events)
        return batch

    async def _settle(self, batch: list[_Waiting]) -> None:
        """Commit the batch and answer everybody in it, whatever happens: nobody may wait for ever."""
        try:
            outcomes = await self._commit([append for append, _ in batch])
        except BaseException as error:
            unknown = OutcomeUnknown("the ledger's writer was interrupted during a commit")
            _answer(batch, [error if isinstance(error, Exception) else unknown] * len(batch))
            if not isinstance(error, Exception):
                raise
        else:
            _answer(batch, outcomes)

    async def _commit(self, appends: list[Append]) -> Sequence[Outcome]:
        """Pursue the batch until its outcome is known, or patience ends."""
        deadline: float | None = None  # from when its outcome is uncertain; the commit itself may have hung for long
        while True:
            try:
                return await self._committer.commit(appends)
            except BatchRefused as refusal:
                if len(appends) == 1:
                    return [MalformedAppend(str(refusal))]
                return [outcome for append in appends for outcome in await self._commit([append])]
            except CommitUncertain as lost:
                why = str(lost)
                deadline = deadline or self._clock.monotonic() + PATIENCE_SECONDS
            except LedgerUnavailable as refusal:
                if deadline is None:
                    return [LedgerUnavailable(str(refusal)) for _ in appends]
                why = str(refusal)
            if self._clock.monotonic() >= deadline:
                return [_unresolved(append, why) for append in appends]
            await self._clock.sleep(RETRY_SECONDS)


def _unresolved(append: Append, why: str) -> LedgerError:
    if append.events or append.idempotency is not None:
        return OutcomeUnknown(f"the connection broke during the commit and did not come back in time: {why}")
    return LedgerUnavailable(why)


def _answer(batch: list[_Waiting], outcomes: Sequence[Outcome | Exception]) -> None:
    for (_, answer), outcome in zip(batch, outcomes, strict=True):
        if answer.done():  # its caller was cancelled meanwhile
            continue
        if isinstance(outcome, Exception):
            answer.set_exception(outcome)
        else:
            answer.set_result(outcome)
