"""What a schedule runs: durable things, and programs that are started again when they end."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import lmdb
from prometheus_client import CollectorRegistry

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Projection
from keyledger_anomalies.tally import Tally
from keyledger_relay.metrics import Metrics
from keyledger_relay.progress import Progress
from tests.simulation.clock import SeededRandomness, SimulatedClock
from tests.simulation.faults import CALM, World
from tests.simulation.ledger import Database
from tests.simulation.log import Broker
from tests.simulation.loop import Process
from tests.simulation.parts import Parts
from tests.simulation.read_models import DetectorDatabase, ModelDatabase

INDEX_BYTES = 64 << 20
SKEW_SECONDS = 1.0
"""How far two clocks may differ; each is off by at most half of it."""


class Violation(AssertionError):
    """Something happened that must not."""


class Bench:
    """What is slow to make and the same for all schedules of a worker: the index's file, the metrics nobody reads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = lmdb.open(str(folder / "index"), map_size=INDEX_BYTES, sync=False, max_spare_txns=16)
        registry = CollectorRegistry()
        self.tally = Tally(registry)
        self.metrics = Metrics(registry, Progress(), SimulatedClock(World(0, disorder=0, odds=CALM)))

    def clear_index(self) -> None:
        """Lose the verification index, as after a crash of the machine."""
        with self.index.begin(write=True) as transaction:
            transaction.drop(self.index.open_db(txn=transaction), delete=False)

    def close(self) -> None:
        self.index.close()


class Slot:
    """A place where one program is to run at a time. A replaced one that goes on is a zombie."""

    def __init__(self, system: "System", name: str, main: Callable[[Process], Coroutine[Any, Any, None]]) -> None:
        self.system, self.name, self._main = system, name, main
        self.current: Process | None = None
        self.may_be_two = True
        self.restart_seconds = (0.01, 1.0)
        self.may_end_by: set[type[Exception]] = set()
        """What the program may end by, to be started again; anything else is a violation."""
        self._starts = 0

    def start(self) -> None:
        """Start the program, anew whenever it ends or dies."""
        self._starts += 1
        self.system.running.pop(self.name, None)
        world = self.system.world
        process = self.current = Process(f"{self.name}-{self._starts}")
        self.system.processes.append(process)
        world.note(process, "starts")
        task = world.loop.spawn(process, self._main(process))
        process.at_death.append(lambda: self._ended(process))
        task.add_done_callback(lambda done: self._done(process, done), context=self.system.outside)

    def kill(self) -> None:
        """Kill what runs here now."""
        process = self.current
        if process is not None and not process.dead:
            self.system.world.note(process, "killed")
            self.system.world.happened["process killed"] += 1
            self.system.world.loop.kill(process)

    def replace(self) -> None:
        """Start another one beside what runs, as when the one that stands still is thought to be dead."""
        if self.current is not None and not self.current.dead:
            self.may_end_by.add(CheckpointMoved)
            self.start()

    def _done(self, process: Process, task: "asyncio.Task[Any]") -> None:
        error = task.exception()
        self.system.world.note(process, "ends", repr(error))
        if not isinstance(error, tuple(self.may_end_by)):
            raise Violation(f"{process} ended: {error!r}") from error
        self.system.world.happened[f"ended by {type(error).__name__}"] += 1
        self.system.world.loop.kill(process)

    def _ended(self, process: Process) -> None:
        if process is self.current:
            world = self.system.world
            self.current = None
            self.system.running.pop(self.name, None)
            world.loop.outside_at(world.now() + world.between(*self.restart_seconds), self.start)


class System:
    """Everything of one schedule."""

    def __init__(self, world: World, bench: Bench, parts: Parts) -> None:
        self.world, self.bench, self.parts = world, bench, parts
        self.outside = world.loop.outside
        self.randomness = SeededRandomness(world.random)
        self.batch_events = world.random.choice((2, 5, 1000))
        self.database = Database(world)
        self.broker = Broker(world)
        self.models: dict[str, ModelDatabase] = {}
        self.projections: dict[str, Projection[Any]] = {}
        self.detector = DetectorDatabase()
        self.committed_offsets: dict[int, int] = {}
        self.slots: dict[str, Slot] = {}
        self.processes: list[Process] = []
        self.clocks: dict[str, SimulatedClock] = {}
        self.running: dict[str, Any] = {}
        """What runs in a slot now, by the slot's name."""
        self.boots: dict[str, str] = {}

    def slot(self, name: str, main: Callable[[Process], Coroutine[Any, Any, None]]) -> Slot:
        """Make a place for a program."""
        slot = self.slots[name] = Slot(self, name, main)
        return slot

    def clock(self, name: str) -> SimulatedClock:
        """Return the clock of the machine that a slot is on."""
        if name not in self.clocks:
            half = round(SKEW_SECONDS * 500_000)
            self.clocks[name] = SimulatedClock(self.world, off=self.world.random.randint(-half, half))
        return self.clocks[name]

    def alive(self, name: str) -> bool:
        """Say whether a slot's program takes steps."""
        process = self.slots[name].current
        return process is not None and not process.dead and not process.paused
