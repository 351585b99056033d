"""What a read model offers to the runner: one transaction with rows, their versions and the checkpoint."""

from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Generic, Literal, Protocol, TypeVar

from msgspec import Struct

from keyledger.contracts.envelope import FIRST_PREV_HASH, Fact

Row = TypeVar("Row")


class Checkpoint(Struct, frozen=True):
    """How far a read model is: the last position applied, its hash, and the log offset to read next."""

    store: str = ""
    position: int = 0
    hash: bytes = FIRST_PREV_HASH
    next_offset: int = 0


class Versioned(Struct, Generic[Row], frozen=True, gc=False):
    """A row and the version of its stream that it reflects. ``row`` None: a fold made it vanish; the guard stays."""

    version: int
    row: Row | None


class Generation(Struct, frozen=True, order=True):
    """Which fold of the log a read model's rows are: the program's number, and how often that was built anew."""

    number: int
    build: int = 0

    def __str__(self) -> str:
        return f"{self.number}.{self.build}"


State = Literal["serving", "building", "offered"]
"""What a generation is for. ``offered``: it was built and compared, and may take the place of the serving one."""


class Parked(Struct, frozen=True, kw_only=True):
    """A stream whose next event cannot be folded: it and all later ones wait, and are read again from the log.

    The fields tell of the first that waits; ``offset`` is its record's in the log, ``recorded_at`` is in microseconds.
    ``reason`` holds nothing of its contents. ``waiting``: how many events wait; ``tries``: how often it was folded.
    """

    stream: str
    position: int
    version: int
    type: str
    recorded_at: int
    offset: int
    reason: str
    waiting: int = 1
    tries: int = 1


class ReadModelUnavailable(Exception):
    """The read model's database cannot be reached now, and whether the last commit was done is not known."""


class Rows(Protocol[Row]):
    """One open transaction of a read model."""

    async def load(self, streams: Collection[str]) -> dict[str, Versioned[Row]]:
        """Return the rows that exist."""
        ...

    async def save(self, changed: Mapping[str, Versioned[Row]]) -> None: ...

    async def park(self, parked: Collection[Parked]) -> None:
        """Keep these marks, in the place of earlier ones of the same streams; rows stay as they are.

        A read model that grants anything denies it from now on.
        """
        ...

    async def release(self, streams: Collection[str]) -> None:
        """Forget the marks of these streams."""
        ...

    async def move_checkpoint(self, *, expected: Checkpoint, new: Checkpoint) -> None:
        """Set this generation's checkpoint; ``eventstore.port.CheckpointMoved`` if it is not at ``expected``.

        The runner calls it first: where several writers may try at once, it is the lock behind which rows are loaded.
        """
        ...


class ReadModel(Protocol[Row]):
    """A database of one projection's generation.

    Every method raises ReadModelUnavailable when the database cannot be reached; the runner then reads the checkpoint
    again, so that a commit whose answer was lost is neither repeated nor taken for a zombie's.
    """

    async def checkpoint(self) -> Checkpoint:
        """Return how far it is; ``Checkpoint()`` at first."""
        ...

    async def parked(self) -> dict[str, Parked]:
        """Return the streams that are parked."""
        ...

    async def request_retry(self, streams: Collection[str]) -> None:
        """Ask the runner, in whichever process it is, to fold these streams again."""
        ...

    async def take_retry_requests(self) -> frozenset[str]:
        """Return the streams that were asked for, once: to the runner."""
        ...

    async def successor(self) -> "ReadModel[Row] | None":
        """Return the generation that was built to take this one's place, if there is one. Asked once a second.

        Where this one was itself built beside another, and is as far as that, it takes its place with this call.
        """
        ...

    async def switch(self, successor: "ReadModel[Row]") -> None:
        """Be the successor from now on, in one write; what was there before is deleted."""
        ...

    def transaction(self) -> AbstractAsyncContextManager[Rows[Row]]:
        """Commit on a clean exit, else roll back everything."""
        ...


class Projection(Protocol[Row]):
    """A pure fold: what one stream's events make of its row."""

    @property
    def name(self) -> str:
        """The read model's name, the same in all generations."""
        ...

    @property
    def generation(self) -> int:
        """Raised to rebuild."""
        ...

    def wants(self, stream: str) -> bool:
        """Say whether it folds this stream at all. Asked of the name alone: a stream is folded whole or not."""
        ...

    def project(self, row: Row | None, fact: Fact) -> Row | None:
        """Return the row after this fact. May not refuse: an exception parks the stream."""
        ...
