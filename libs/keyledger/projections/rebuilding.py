"""Builds a read model anew beside the one that serves, compares the two, and lets the new one take over.

It may run in any process. The one that serves goes on meanwhile, and once the new one is offered it switches in one
write. A rebuild that was killed goes on where it was the next time.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import AbstractAsyncContextManager
from typing import Final, Literal, Protocol

from msgspec import Struct

from keyledger.contracts.cloudevents import read_private
from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import LEDGER
from keyledger.eventlog.last_record import last_record
from keyledger.eventlog.port import EventLog
from keyledger.projections.port import Generation, Parked, State

CLOSE: Final = 1_000
"""So few events behind, the two are compared; the rest is folded while the serving one's state of then is kept."""
PROGRESS_SECONDS: Final = 1.0
LOOK_SECONDS: Final = 0.2

Line = tuple[str, object]
"""A stream, and all that is kept of it."""
Say = Callable[[str], None]
Outcome = Literal["switched", "offered", "differs"]


class Status(Struct, frozen=True):
    """A generation that there is."""

    generation: Generation
    state: State
    position: int
    parked: int


class Difference(Struct):
    """How many streams two generations have alike, differing, and each alone."""

    same: int = 0
    differing: int = 0
    only_serving: int = 0
    only_built: int = 0

    @property
    def none(self) -> bool:
        """Say whether they are alike."""
        return not (self.differing or self.only_serving or self.only_built)


class Built(Protocol):
    """A generation that is being built."""

    @property
    def generation(self) -> Generation:
        """Which one it is."""
        ...

    async def position(self) -> int:
        """Return how far it is."""
        ...

    async def reach(self, position: int) -> None:
        """Fold the log exactly up to there."""
        ...

    def lines(self) -> AsyncIterator[Line]:
        """Return everything it holds, in the order of the streams' bytes."""
        ...


class Rebuildable(Protocol):
    """A read model, as an operator sees it from another process than the one that serves it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def number(self) -> int:
        """The program's own number of its generations."""
        ...

    @property
    def place(self) -> str:
        """Where it is kept; never a password."""
        ...

    async def statuses(self) -> list[Status]:
        """Return its generations, the oldest first; none where nobody served it yet."""
        ...

    async def head(self) -> int:
        """Return the last position that the log holds for it."""
        ...

    def begin(self) -> AbstractAsyncContextManager[Built]:
        """Give the generation that is being built, to go on with it; else a new one."""
        ...

    def snapshot(self) -> AbstractAsyncContextManager[tuple[int, AsyncIterator[Line]]]:
        """Give the position and the lines of the serving one as they are at this moment, while it goes on."""
        ...

    async def offer(self, generation: Generation) -> None:
        """Let a generation that was built take over, as soon as the process that serves looks."""
        ...

    async def discard(self) -> list[Generation]:
        """Delete what was built and does not serve; return what it was."""
        ...

    async def parked(self) -> dict[str, Parked]:
        """Return what is parked in the serving one; nothing where nobody served it yet."""
        ...

    async def request_retry(self, streams: Collection[str]) -> None:
        """Ask the process that serves to fold these streams again."""
        ...

    async def close(self) -> None: ...


class NotNow(Exception):
    """It cannot be done now; the text says why, and what to do."""


async def rebuild(store: Rebuildable, *, agreed: bool, say: Say, clock: Clock, wait_seconds: float) -> Outcome:
    """Build, compare, and switch; ``agreed``: switch also where the two differ.

    ``wait_seconds``: how long to wait for the process that serves. ``offered`` means that it did not switch by then; it
    does so at its next start.

    Raises:
        NotNow, and what a fold of the log raises.
    """
    serving = await _serving(store)
    if serving.generation.number != store.number:
        raise NotNow(f"{store.name}: generation {serving.generation} of another program serves: start this one")
    async with store.begin() as built:
        say(f"{store.name}: building generation {built.generation}")
        while (goal := (await _serving(store)).position) - (await built.position()) > CLOSE:
            await _reach(store, built, goal, say)
        async with store.snapshot() as (position, lines):
            await _reach(store, built, position, say)
            difference = await compare(lines, built.lines())
    if difference.none:
        say(f"{store.name}: all {difference.same:,} lines are the same at position {position:,}")
    else:
        say(
            f"{store.name}: at position {position:,} {difference.same:,} lines are the same, "
            f"{difference.differing:,} differ, {difference.only_serving:,} are only in what serves, "
            f"{difference.only_built:,} only in what was built"
        )
        if not agreed:
            return "differs"
    await store.offer(built.generation)
    return "switched" if await _taken(store, built.generation, clock, wait_seconds) else "offered"


async def compare(serving: AsyncIterator[Line], built: AsyncIterator[Line]) -> Difference:
    """Count what is alike and what is not. Both are in the order of the streams' bytes."""
    found = Difference()
    one, other = await anext(serving, None), await anext(built, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            found.only_serving += 1
            one = await anext(serving, None)
        elif one is None or other[0] < one[0]:
            found.only_built += 1
            other = await anext(built, None)
        else:
            if one == other:
                found.same += 1
            else:
                found.differing += 1
            one, other = await anext(serving, None), await anext(built, None)
    return found


async def ledger_head(log: EventLog) -> int:
    """Return the position of the last fact that the log holds."""
    record = await last_record(log, LEDGER.name)
    if record is None:
        return 0
    _, entry = read_private(record.headers, record.value)
    return entry.header.position


async def _reach(store: Rebuildable, built: Built, goal: int, say: Say) -> None:
    """Fold up to ``goal``, and tell how far it is each second."""
    reaching = asyncio.create_task(built.reach(goal))
    try:
        here = await built.position()
        while not (await asyncio.wait({reaching}, timeout=PROGRESS_SECONDS))[0]:
            before, here = here, await built.position()
            say(f"{store.name}: {here:,} of {goal:,} ({(here - before) / PROGRESS_SECONDS:,.0f}/s)")
        await reaching
    finally:
        reaching.cancel()
        await asyncio.wait({reaching})


async def _taken(store: Rebuildable, generation: Generation, clock: Clock, wait_seconds: float) -> bool:
    deadline = clock.monotonic() + wait_seconds
    while clock.monotonic() < deadline:
        if [(one.generation, one.state) for one in await store.statuses()] == [(generation, "serving")]:
            return True
        await clock.sleep(LOOK_SECONDS)
    return False


async def _serving(store: Rebuildable) -> Status:
    for one in await store.statuses():
        if one.state == "serving":
            return one
    raise NotNow(f"{store.name}: nothing serves yet; it is built when it is served for the first time")
