"""The services' own classes, put together as their ``build.py`` does it, over ports that the simulation holds."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final

from keyledger.contracts.topics import AUTH_BY_SOURCE, TOPICS, Topic
from keyledger.detection.records import observe_record, read_attempts
from keyledger.eventlog.port import LogUnavailable
from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.order import GapInLedger
from keyledger.projections.port import Generation, Projection
from keyledger.runtime.together import run_together
from keyledger.verification.index import LmdbIndex
from keyledger.verification.node import NodeSettings
from keyledger_anomalies.alerts import AlertPublisher
from keyledger_relay.patience import Patience
from keyledger_relay.progress import Progress
from tests.simulation.faults import LATE_SECONDS
from tests.simulation.ledger import SimulatedLedger
from tests.simulation.log import SimulatedLog
from tests.simulation.loop import Process
from tests.simulation.peppers import PEPPERS
from tests.simulation.read_models import ModelDatabase, SimulatedDetectorState
from tests.simulation.system import SKEW_SECONDS, Slot, System
from tests.simulation.watching import watch

MAX_STALENESS_SECONDS: Final = 10.0
CHANGELOG: Final = Topic("detector-changelog", AUTH_BY_SOURCE.partitions, -1, "what the distributed detector remembers")
_OFFSET_COMMIT_SECONDS: Final = 0.5


def add_commands(system: System, name: str) -> Slot:
    """Let a process take commands."""

    async def main(process: Process) -> None:
        ledger = SimulatedLedger(system.database, process, clock=system.clock(name), writer=system.parts.writer)
        system.running[name] = ledger
        await asyncio.Event().wait()

    return system.slot(name, main)


def add_relay(system: System) -> Slot:
    """Let a process relay the ledger."""

    async def main(process: Process) -> None:
        clock, parts = system.clock("relay"), system.parts
        ledger, log = SimulatedLedger(system.database, process, clock=clock), SimulatedLog(system.broker, process)
        progress = system.running["relay"] = Progress()
        patiences = {
            "ledger_patience": Patience("ledger", clock, system.bench.metrics.retries),
            "log_patience": Patience("log", clock, system.bench.metrics.retries),
        }
        relay = parts.relay(
            ledger,
            log,
            progress=progress,
            metrics=system.bench.metrics,
            **patiences,
            clock=clock,
            batch_events=system.batch_events,
            works_ahead=system.batch_events == 2,  # so that both ways are taken
        )
        mark = parts.mark(ledger, progress=progress, patience=patiences["ledger_patience"], clock=clock)
        heads = parts.heads(ledger, log, progress=progress, clock=clock, **patiences)
        await run_together(relay=relay.run(), mark=mark.run(), heads=heads.run())

    slot = system.slot("relay", main)
    slot.may_end_by.add(CheckpointMoved)  # a move of the mark may be carried out late: then a lone relay meets its own
    return slot


def add_projection(system: System, projection: Projection[Any], *, torn: bool) -> Slot:
    """Let a process fold the ledger into a read model."""
    name = projection.name
    database = system.models[name] = ModelDatabase(system.world, name)
    system.projections[name] = projection
    watch(system, database)

    async def main(process: Process) -> None:
        model = system.parts.read_model(database, process, torn=torn)
        log = SimulatedLog(system.broker, process)
        runner = system.running[name] = system.parts.runner(
            projection, model, log, clock=system.clock(name), max_batch=system.batch_events
        )
        await runner.run()

    return _reader_of_the_ledger(system.slot(name, main))


def _reader_of_the_ledger(slot: Slot) -> Slot:
    if slot.system.world.unreliable_delivery:
        slot.may_end_by.add(GapInLedger)
    return slot


def add_node(system: System) -> Slot:
    """Let a verifier node run."""

    async def main(process: Process) -> None:
        index = LmdbIndex(system.bench.index, Generation(1), folder=system.bench.folder, lock=None)
        node = system.parts.node(
            index,
            PEPPERS,
            SimulatedLog(system.broker, process),
            settings=NodeSettings(
                node="node", max_staleness_seconds=MAX_STALENESS_SECONDS, clock_skew_seconds=SKEW_SECONDS
            ),
            clock=system.clock("node"),
            randomness=system.randomness,
        )
        system.running["node"] = node
        system.boots["node"] = node.boot
        await node.run()

    slot = _reader_of_the_ledger(system.slot("node", main))
    slot.may_be_two = False  # an index has one writer, by a lock on its folder
    return slot


def add_edge(system: System, name: str) -> Slot:
    """Let a process tell of attempts."""

    async def main(process: Process) -> None:
        boot = system.randomness.token_hex(4)
        log = SimulatedLog(system.broker, process)
        sink = system.running[name] = system.parts.sink(log, node=name, boot=boot, clock=system.clock(name))
        system.boots[name] = boot
        await sink.run()

    return system.slot(name, main)


def add_detector_loop(system: System) -> Slot:
    """Let the embedded profile's detector run."""

    async def main(process: Process) -> None:
        log = SimulatedLog(system.broker, process)
        state = SimulatedDetectorState(system.detector, system.world, process)
        clock = system.clock("detector")
        detector = system.parts.detector(log, state, AlertPublisher(log), clock=clock, tally=system.bench.tally)
        system.running["detector"] = detector
        await detector.run()

    return system.slot("detector", main)


def add_detector_shell(system: System) -> Slot:
    """Let a detector run that writes its table's changelog as the distributed profile does.

    Faust itself cannot run here. What it does for ``ChangelogLane`` is done plainly: read from the committed offset,
    the table recovered from its changelog, the offset committed now and then behind what was acknowledged.
    """

    async def main(process: Process) -> None:
        log = SimulatedLog(system.broker, process)
        publish = system.running["detector"] = AlertPublisher(log)
        await _until_there(system, partial(log.ensure_topics, (*TOPICS, CHANGELOG)))
        shells = (_Shell(system, log, publish, partition) for partition in range(AUTH_BY_SOURCE.partitions))
        await run_together(**{f"partition_{shell.partition}": shell.run() for shell in shells})

    slot = system.slot("detector", main)
    # The group waits for a session to end before it gives the partitions to another. What a former owner that stood
    # still for longer writes then is not fenced: see the README.
    slot.restart_seconds = (LATE_SECONDS, LATE_SECONDS + 2)
    slot.may_be_two = False
    return slot


class _Shell:
    """One partition: the fold, its table, and the lane that makes it durable."""

    def __init__(self, system: System, log: SimulatedLog, publish: AlertPublisher, partition: int) -> None:
        self.partition = partition
        self._system, self._log, self._publish = system, log, publish

    async def run(self) -> None:
        producer = await _until_there(self._system, self._log.producer)
        lane = self._system.parts.lane(
            producer,
            CHANGELOG.name,
            self.partition,
            publish=self._publish,
            forget=self._forget,
            clock=self._system.clock("detector"),
        )
        await run_together(lane=lane.run(), fold=self._fold(lane), offsets=self._commit_offsets(lane))

    async def _fold(self, lane: Any) -> None:
        table = await _until_there(self._system, self._recovered)
        offset = lane.written = self._system.committed_offsets.get(self.partition, 0)
        reader = await self._log.reader(AUTH_BY_SOURCE.name, self.partition, offset)
        while True:
            records = await _until_there(self._system, partial(reader.poll, max_records=10, timeout_seconds=5.0))
            await lane.room()
            for record in records:
                observed = observe_record(read_attempts(record), table)
                table.update(observed.entries)
                lane.add(observed, (), record.offset + 1)

    async def _commit_offsets(self, lane: Any) -> None:
        while True:
            await self._system.clock("detector").sleep(_OFFSET_COMMIT_SECONDS)
            self._system.committed_offsets[self.partition] = lane.written

    async def _recovered(self) -> dict[str, bytes]:
        """Return the table as its changelog has it: of each key the last entry."""
        _, end = await self._log.bounds(CHANGELOG.name, self.partition)
        reader = await self._log.reader(CHANGELOG.name, self.partition, 0)
        table: dict[str, bytes] = {}
        offset = 0
        while offset < end:
            for record in await reader.poll(max_records=100, timeout_seconds=1.0):
                table[(record.key or b"").decode()] = record.value or b""
                offset = record.offset + 1
        return table

    async def _forget(self, partition: int, keys: Sequence[str]) -> None:
        raise NotImplementedError(f"no schedule is so long that {keys} of {partition} are forgotten")


async def _until_there(system: System, ask: Callable[[], Awaitable[Any]]) -> Any:
    while True:
        try:
            return await ask()
        except LogUnavailable:
            await system.clock("detector").sleep(0.2)
