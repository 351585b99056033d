"""An event loop without time or chance of its own: virtual seconds, and a seeded choice among what is ready.

Every callback belongs to a simulated process (found by its context), so that a process can be killed between any two
steps, or stand still while the others go on.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from random import Random
from types import CoroutineType
from typing import Any, Final, TypeVar

T = TypeVar("T")
Callback = Callable[..., object]

MOST_STEPS: Final = 200_000
"""Of one schedule, which takes some 2,000: more is a loop that never rests."""
_SLIP_ODDS: Final = 0.02
_CLOSINGS: Final = 5


class Livelock(AssertionError):
    """Something runs without ever waiting for time to pass."""


class NothingLeft(AssertionError):
    """Nobody waits for anything that could still come, but the schedule is not over."""


class Process:
    """Some tasks that die together. What they hold in memory dies with them; what a port has taken does not."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.dead = False
        self.paused = False
        self.tasks: list[SimulatedTask] = []
        self.deferred: list[Handle] = []
        self.at_death: list[Callable[[], None]] = []

    def __repr__(self) -> str:
        return self.name


OUTSIDE: Final = Process("outside")
"""What is no program of ours: networks, databases, brokers, callers."""
_PROCESS: Final[ContextVar[Process]] = ContextVar("process", default=OUTSIDE)


class Handle:
    """A callback that is to run once."""

    __slots__ = ("args", "callback", "context", "moment", "process")

    def __init__(
        self, callback: Callback, args: tuple[Any, ...], context: Context, process: Process, moment: float
    ) -> None:
        self.callback: Callback | None = callback
        self.args, self.context, self.process, self.moment = args, context, process, moment

    def cancel(self) -> None:
        self.callback = None

    def cancelled(self) -> bool:
        return self.callback is None

    def when(self) -> float:
        return self.moment


class SimulatedTask(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], *, number: int, context: Context, **more: Any) -> None:
        self.number, self.context = number, context
        super().__init__(coroutine, context=context, **more)
        self._log_destroy_pending = False

    def __hash__(self) -> int:
        return self.number


class SimulatedFuture(asyncio.Future[Any]):
    """A future whose place in a set does not depend on where it lies in memory."""

    def __init__(self, *, number: int, **more: Any) -> None:
        self.number = number
        super().__init__(**more)

    def __hash__(self) -> int:
        return self.number


class SimulatedLoop(asyncio.AbstractEventLoop):
    """Runs one schedule. ``disorder``: how often (0 to 1) the next step is another one than the oldest."""

    def __init__(self, random: Random, *, disorder: float) -> None:
        self._chance = random.random
        self.disorder = disorder
        self._time = 0.0
        self._ready: list[Handle] = []
        self._timers: list[tuple[float, int, Handle]] = []
        self._numbers = 0
        self._current = OUTSIDE
        self.outside: Final = copy_context()
        """The context of what belongs to no process."""
        self._closed = False
        self.steps = 0

    # What asyncio asks of a loop.

    def time(self) -> float:
        return self._time

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def call_soon(self, callback: Callback, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # the handle is our own
        if context is None:
            context, process = copy_context(), self._current
        else:
            process = context.get(_PROCESS, OUTSIDE)
        handle = Handle(callback, args, context, process, self._time)
        self._ready.append(handle)
        return handle

    def call_later(self, delay: float, callback: Callback, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # as above
        return self.call_at(self._time + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Callback, *args: Any, context: Context | None = None) -> Any:  # type: ignore[override]  # as above
        handle = Handle(callback, args, copy_context() if context is None else context, self._current, when)
        self._numbers += 1
        heapq.heappush(self._timers, (when, self._numbers, handle))
        return handle

    def create_future(self) -> Any:
        self._numbers += 1
        return SimulatedFuture(number=self._numbers, loop=self)

    def create_task(
        self, coroutine: Any, *, name: str | None = None, context: Context | None = None
    ) -> asyncio.Task[Any]:
        self._numbers += 1
        taken = copy_context() if context is None else context
        task = SimulatedTask(coroutine, number=self._numbers, context=taken, loop=self, name=name)
        taken.get(_PROCESS, OUTSIDE).tasks.append(task)
        return task

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Nobody is told: what a task left unsaid is judged by what became of the schedule."""

    # What the simulation asks of it.

    @property
    def process(self) -> Process:
        """The process whose step runs now."""
        return self._current

    def outside_at(self, when: float, callback: Callback, *args: Any) -> None:
        """Call at a time, whatever becomes of the process that runs now."""
        self._numbers += 1
        handle = Handle(callback, args, self.outside, OUTSIDE, when)
        heapq.heappush(self._timers, (when, self._numbers, handle))

    def spawn(self, process: Process, coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a task that belongs to the process, as do all that it starts."""
        context = copy_context()
        context.run(_PROCESS.set, process)
        return self.create_task(coroutine, context=context)

    def within(self, process: Process, callback: Callable[[], T]) -> T:
        """Call at once, as a step of the process."""
        before, self._current = self._current, process
        context = copy_context()
        context.run(_PROCESS.set, process)
        try:
            return context.run(callback)
        finally:
            self._current = before

    def kill(self, process: Process) -> None:
        """End the process where it stands. Its ports must refuse it from now on, for ``finally`` still runs."""
        process.dead = True
        for release in process.at_death:
            release()
        _close(process.tasks)
        process.deferred.clear()

    def pause(self, process: Process) -> None:
        """Have it take no step, as SIGSTOP does."""
        process.paused = True

    def resume(self, process: Process) -> None:
        """Have it go on where it stood."""
        process.paused = False
        self._ready += process.deferred
        process.deferred.clear()

    def run(self, main: Coroutine[Any, Any, T]) -> T:
        """Run until ``main`` is done; return its result, or raise what it raised."""
        asyncio._set_running_loop(self)  # noqa: SLF001 - how a loop says that it runs
        try:
            task = self.spawn(OUTSIDE, main)
            while not task.done():
                self._step()
            return task.result()
        finally:
            asyncio._set_running_loop(None)  # noqa: SLF001 - and that it does not

    def end(self, processes: list[Process]) -> None:
        """Let go of everything that still waits."""
        self._closed = True
        for process in processes:
            process.dead = True
            _close(process.tasks)
        _close(OUTSIDE.tasks)
        self._ready.clear()
        self._timers.clear()

    def _step(self) -> None:
        if not self._ready or (self.disorder and self._timers and self._chance() < _SLIP_ODDS):
            self._advance()
        ready = self._ready
        disordered = len(ready) > 1 and self._chance() < self.disorder
        handle = ready.pop(int(self._chance() * len(ready)) if disordered else 0)
        callback, process = handle.callback, handle.process
        if callback is None or process.dead:
            return
        if process.paused:
            process.deferred.append(handle)
            return
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Livelock(f"{self.steps} steps by {self._time:.1f} s: {process} runs {callback}")
        self._current = process
        handle.context.run(callback, *handle.args)
        self._current = OUTSIDE

    def _advance(self) -> None:
        """Go on to the next timer that still means something."""
        while self._timers:
            when, _, handle = heapq.heappop(self._timers)
            if handle.callback is not None and not handle.process.dead:
                self._time = max(self._time, when)
                self._ready.append(handle)
                return
        if not self._ready:
            raise NothingLeft(f"at {self._time:.1f} s nobody waits for anything that could still come")


def _close(tasks: list[SimulatedTask]) -> None:
    for task in tasks:
        if not task.done():
            # From the inside out: who waits in a ``finally`` is closed there once more, and nobody is left to warn.
            for frame in reversed(_frames(task.get_coro())):
                task.context.run(_close_frame, frame)
    tasks.clear()


def _frames(outermost: object) -> list[Coroutine[Any, Any, Any]]:
    """Return a coroutine and what it awaits, and what that awaits, as far as they are coroutines."""
    frames: list[Coroutine[Any, Any, Any]] = []
    while isinstance(outermost, CoroutineType):
        frames.append(outermost)
        outermost = outermost.cr_await
    return frames


def _close_frame(frame: Coroutine[Any, Any, Any]) -> None:
    for _ in range(_CLOSINGS):
        try:
            frame.close()
        except RuntimeError:
            continue
        except BaseException:  # noqa: BLE001, S110 - what a dead process raises is nobody's matter
            pass
        return
