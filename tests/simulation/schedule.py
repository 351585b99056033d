"""One schedule: what runs in it, what goes wrong, and when, all by its seed."""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from msgspec import Struct

from keyledger.contracts.topics import EVENTS, HEADS, LEDGER, TOPICS
from keyledger.projections.order import GapInLedger
from keyledger.projections.port import Projection
from keyledger.verification.projector import VerificationProjection
from keyledger_directory.projector import KeyDirectory
from tests.simulation import oracle, programs
from tests.simulation.attempts import Attempts
from tests.simulation.callers import Callers
from tests.simulation.faults import CALM, EPOCH, Odds, World
from tests.simulation.folds import Positions, Stumbling
from tests.simulation.history import beginnings
from tests.simulation.loop import Livelock, NothingLeft
from tests.simulation.parts import Parts
from tests.simulation.system import Bench, Slot, System, Violation

LIVENESS_SECONDS: Final = 60.0
"""How long (virtual) everything may take to be where it has to be, once nothing goes wrong any more."""


class Result(Struct, frozen=True):
    """What became of a schedule. ``violation`` None: nothing that must not be."""

    seed: int
    violation: str | None
    steps: int
    calls: int
    virtual_seconds: float
    happened: Counter[str]
    digest: int


class Schedule:
    """Everything that a seed decides."""

    def __init__(self, seed: int, bench: Bench, parts: Parts, tell: Callable[[str], None] | None) -> None:
        self.world = world = World(seed, disorder=0.0, odds=CALM, tell=tell)
        random = world.random
        world.loop.disorder = random.choice((0.0, 0.1, 0.5, 1.0))
        self._odds = Odds(random.choice((0.0, 0.02, 0.1, 0.3)), random.choice((0.0, 0.01)), random.choice((0.001, 0.3)))
        world.unreliable_delivery = world.chance(0.2)
        self.system = System(world, bench, parts)
        self.commands = ["commands-a", "commands-b"][: random.choice((1, 2))]
        self.edges: list[str] = []
        self._stumbling: list[Stumbling] = []
        self._seconds = world.between(2.0, 6.0)
        kinds = random.choices(("directory", "node", "detector", "all"), (45, 30, 20, 5))[0]
        self.has_ledger = kinds != "detector"
        if self.has_ledger:
            self._add_ledger()
        if kinds in ("directory", "all"):
            self._add_projections()
        if kinds in ("node", "all"):
            bench.clear_index()
            programs.add_node(self.system)
        if kinds in ("detector", "all"):
            self._add_detector()
        self.callers = Callers(self.system, self.commands)
        self.attempts = Attempts(self.system, self.callers)

    def _add_ledger(self) -> None:
        for append in beginnings():
            self.system.database.store.commit([append], EPOCH)
        for name in self.commands:
            programs.add_commands(self.system, name)
        programs.add_relay(self.system)

    def _add_projections(self) -> None:
        torn = self.world.chance(0.5)
        folds: list[Projection[Any]] = [KeyDirectory(), VerificationProjection(), Positions()]
        for projection in self.world.random.sample(folds, self.world.random.choice((1, 2))):
            if self.world.chance(0.4):
                projection = Stumbling(projection, self.world.seed)  # noqa: PLW2901 - the same fold, in bad health
                self._stumbling.append(projection)
            programs.add_projection(self.system, projection, torn=torn)

    def _add_detector(self) -> None:
        self.edges = ["edge-a", "edge-b"][: self.world.random.choice((1, 2))]
        for name in self.edges:
            programs.add_edge(self.system, name)
        add = self.world.random.choice((programs.add_detector_loop, programs.add_detector_shell))
        add(self.system)

    async def run(self) -> None:
        """Let it happen, then let it heal, then judge."""
        self.system.broker.ensure(TOPICS)
        for slot in self.system.slots.values():
            slot.start()
        for name in self.system.slots:
            self.system.clock(name)
        self.world.odds = self._odds
        self._plan()
        await asyncio.sleep(self._seconds)
        self._heal()
        await self._until_settled()
        oracle.judge(self.system, self.callers, self.attempts)

    def _plan(self) -> None:
        """Decide what is done and what goes wrong, and when."""
        random = self.world.random
        if self.has_ledger:
            for _ in range(random.randint(8, 16)):
                self._some_time(self.callers.send)
        if "node" in self.system.slots:
            for _ in range(random.randint(10, 25)):
                self._some_time(self.attempts.present)
        for edge in self.edges:
            for _ in range(random.randint(8, 30)):
                self._some_time(partial(self.attempts.make_up, edge))
        if self._stumbling:
            self._some_time(self._mend)
        # Few kinds of trouble, and often: a schedule with a little of everything reaches less.
        kinds = random.sample(_TROUBLE, random.randint(1, 3))
        for _ in range(random.randint(0, 6)):
            self._some_time(lambda: self._trouble(random.choice(kinds)))

    def _mend(self) -> None:
        """Mend the folds that stumble, and ask for another try, as an operator does."""
        for projection in self._stumbling:
            projection.mended = True
        self._try_again()

    def _some_time(self, what: Callable[[], object]) -> None:
        # Mostly together: what happens apart from everything else finds nothing.
        when = self.world.between(0.0, self._seconds)
        self.world.loop.outside_at(int(10 * when) / 10 if self.world.chance(0.5) else when, what)

    def _trouble(self, kind: str) -> None:
        world, random = self.world, self.world.random
        slot = self.system.slots[random.choice(list(self.system.slots))]
        match kind:
            case "kill":
                slot.kill()
            case "pause":
                self._pause(slot)
            case "down":
                name = random.choice(("ledger", "log", *self.system.models, "state"))
                world.down[name] = world.now() + world.between(0.1, 3.0)
                world.note("outside", "down", f"{name} until {world.down[name]:.2f}")
                world.happened["dependency down"] += 1
            case "clock":
                self._set_clock(slot)
            case "topic" if self.has_ledger:
                self._lose_topic()
            case "retry":
                self._try_again()
            case "heads":
                world.note("outside", "heads deleted")
                world.happened["heads deleted"] += 1
                self.system.broker.trim((HEADS.name, 0), self.system.broker.end((HEADS.name, 0)))

    def _pause(self, slot: Slot) -> None:
        world, process = self.world, slot.current
        if process is None or process.paused:
            return
        world.note(process, "stands still")
        world.happened["process paused"] += 1
        world.loop.pause(process)
        if slot.may_be_two and world.chance(0.6):
            world.happened["zombie"] += 1
            slot.replace()
        world.loop.outside_at(world.now() + world.between(0.1, 4.0), lambda: world.loop.resume(process))

    def _lose_topic(self) -> None:
        broker = self.system.broker
        broker.lose(self.world.random.choice((LEDGER, EVENTS)).name)
        if broker.quiet:
            # Until the relay has found out, it goes on behind what was lost: a reader must stop rather than follow.
            for name in ("node", *self.system.models):
                if name in self.system.slots:
                    self.system.slots[name].may_end_by.add(GapInLedger)

    def _set_clock(self, slot: Slot) -> None:
        half = 3_600_000_000 if slot.name in self.commands else 500_000
        clock = self.system.clock(slot.name)
        clock.off = self.world.random.randint(-half, half)
        self.world.note(slot.name, "clock is off", clock.off)
        self.world.happened["clock set"] += 1

    def _heal(self) -> None:
        """From now on nothing goes wrong."""
        self.world.note("outside", "heals")
        self.world.odds = CALM
        self.world.unreliable_delivery = False
        self._mend()
        self.world.down.clear()
        for process in self.system.processes:
            if process.paused:
                self.world.loop.resume(process)

    async def _until_settled(self) -> None:
        # First without anything new, which would wake what sleeps by mistake.
        await self._until_nothing(lambda: [f"order {number} has no answer" for number in self.callers.waiting])
        if self.has_ledger:
            # And then something new: a topic that was lost is noticed by the next send, or, by a reader that waits
            # exactly where the new one ends, by the one after it.
            self.callers.send("create")
            self.world.loop.outside_at(self.world.now() + _LAST_SECONDS, self.callers.send, "create")
        await self._until_nothing(lambda: oracle.lagging(self.system, self.callers))
        if "node" in self.system.slots:
            self.attempts.present()

    async def _until_nothing(self, lags: Callable[[], list[str]]) -> None:
        until = self.world.now() + LIVENESS_SECONDS
        while behind := lags():
            if self.world.now() > until:
                raise Violation(f"after {LIVENESS_SECONDS} s without faults: {behind}")
            self._try_again()
            await asyncio.sleep(0.25)

    def _try_again(self) -> None:
        """Ask for another try of all that is parked, as an operator does."""
        for model in self.system.models.values():
            model.kept.retry_requests.update(model.kept.marks)


_LAST_SECONDS: Final = 20.0
_TROUBLE: Final = ("kill", "pause", "down", "clock", "topic", "heads", "retry")


def run(seed: int, bench: Bench, parts: Parts | None = None, *, tell: Callable[[str], None] | None = None) -> Result:
    """Run one schedule and judge it."""
    schedule = Schedule(seed, bench, parts or Parts(), tell)
    world, violation = schedule.world, None
    try:
        world.loop.run(schedule.run())
    except (Violation, Livelock, NothingLeft) as error:
        violation = str(error)
    finally:
        world.loop.end(schedule.system.processes)
    if violation is not None:
        world.note("outside", "VIOLATION", violation)
    digest = world.digest()
    return Result(seed, violation, world.loop.steps, world.calls, world.now(), world.happened, digest)
