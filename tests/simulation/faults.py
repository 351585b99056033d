"""What may go wrong with a call to the outside, how often, and when: all from one seed."""

import asyncio
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any, Final, Literal, TypeVar, assert_never
from zlib import crc32

from msgspec import Struct

from tests.simulation.loop import Process, SimulatedLoop

T = TypeVar("T")
Fate = Literal["done", "before", "after", "late"]
"""``before``: failed, nothing was done. ``after``: done, but it looks failed. ``late``: looks failed, done later."""

EPOCH: Final = 1_790_000_000_000_000
"""Where every schedule begins, in microseconds since 1970."""
LATE_SECONDS: Final = 6.0
HANG_SECONDS: Final = 4.0
_SLOW_ANSWERS: Final = 0.3
"""How often an answer takes its own time; else it comes at the moment of the effect."""


class Odds(Struct, frozen=True):
    """How often (0 to 1) calls fail or hang, and how long (seconds) they take at most otherwise."""

    failure: float
    hang: float
    latency_seconds: float


CALM: Final = Odds(0.0, 0.0, 0.002)


class Died(BaseException):
    """A call by a process that has been killed: its ``finally`` has no effect on the world."""


class World:
    """The loop, chance, and the record of what happened, which everything in a schedule shares."""

    def __init__(self, seed: int, *, disorder: float, odds: Odds, tell: Callable[[str], None] | None = None) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.loop = SimulatedLoop(Random(seed + 1), disorder=disorder)  # type: ignore[abstract]  # it has what is used
        self.odds = odds
        self.epoch = EPOCH
        self.unreliable_delivery = False
        """Readers of the ledger's topic get some records again, and some not at once."""
        self.down: dict[str, float] = {}
        """What cannot be reached at all, and until when."""
        self.happened: Counter[str] = Counter()
        self.trace: list[tuple[float, str, str, object]] = []
        self.calls = 0
        self._tell = tell

    def digest(self) -> int:
        """Return what two runs of one seed have in common: a check sum of the trace."""
        return crc32(repr(self.trace).encode())

    def now(self) -> float:
        return self.loop.time()

    def note(self, who: Process | str, what: str, detail: object = "") -> None:
        """Put a line into the trace."""
        self.trace.append((self.now(), str(who), what, detail))
        if self._tell is not None:
            self._tell(f"{self.now():10.6f}  {who!s:14} {what:24} {detail}")

    def chance(self, odds: float) -> bool:
        return self.random.random() < odds

    def between(self, least: float, most: float) -> float:
        return least + (most - least) * self.random.random()

    def fate(self, what: str) -> Fate:
        """Decide what becomes of a call."""
        if self.down.get(what, 0.0) > self.now():
            return "before"
        if self.random.random() >= self.odds.failure:
            return "done"
        return self.random.choice(("before", "after", "late"))

    def latency(self) -> float:
        if self.odds.hang and self.random.random() < self.odds.hang:
            return self.between(0.0, HANG_SECONDS)
        return self.random.random() ** 3 * self.odds.latency_seconds

    async def call(
        self,
        process: Process,
        what: str,
        effect: Callable[[], T],
        failed: Callable[[str], Exception],
        *,
        uncertain: Callable[[str], Exception] | None = None,
        doubt: Callable[[], None] | None = None,
        detail: object = "",
        local: bool = False,
    ) -> T:
        """Have the world do ``effect`` for the process, or fail as the seed says.

        ``what`` is ``dependency.method``. Only where ``uncertain`` is given the call can look failed and yet be done;
        ``doubt`` stands for an effect that comes later (by default: some seconds later). An error that the effect
        raises is the call's answer. A call to something ``local``, as a file, dies with its process.
        """
        if process.dead:
            raise Died
        self.calls += 1
        fate = self.fate(what.partition(".")[0])
        if fate != "done" and uncertain is None:
            fate = "before"
        error = None if fate == "done" else (failed if fate == "before" else uncertain or failed)(f"{what} failed")
        answer = self.loop.create_future()
        when = self.now() + self.latency()
        self.loop.outside_at(when, self._arrive, process, what, detail, fate, effect, error, doubt, local, answer)
        result: T = await answer
        return result

    def _arrive(  # noqa: PLR0917 - a timer calls it, by position
        self,
        process: Process,
        what: str,
        detail: object,
        fate: Fate,
        effect: Callable[[], Any],
        error: Exception | None,
        doubt: Callable[[], None] | None,
        local: bool,  # noqa: FBT001 - it is handed through
        answer: Any,
    ) -> None:
        if process.dead and (local or self.chance(0.5)):
            self.note(process, what, f"{detail} never left the process")
            return
        self.note(process, what, detail if fate == "done" else f"{detail} {fate}")
        if fate != "done":
            self.happened[f"{what} {fate}"] += 1
        result = None
        match fate:
            case "done":
                result, error = _outcome(effect)
            case "before":
                pass
            case "after":
                _outcome(effect)
            case "late" if doubt is not None:
                _outcome(doubt)
            case "late":
                self.loop.outside_at(self.now() + self.between(0.0, LATE_SECONDS), _outcome, effect)
            case _:
                assert_never(fate)
        if self.random.random() < _SLOW_ANSWERS:
            self.loop.outside_at(self.now() + self.latency(), give, answer, result, error)
        else:
            give(answer, result, error)


def give(answer: "asyncio.Future[Any]", result: object = None, error: BaseException | None = None) -> None:
    """Answer whoever waits, if nobody did before."""
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)


def _outcome(effect: Callable[[], Any]) -> tuple[Any, Exception | None]:
    try:
        return effect(), None
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001 - it is the answer
        return None, error
