"""Without faults, what stands in for databases and the broker keeps the promises that the real ones keep."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from keyledger.contracts.ports import Clock
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from keyledger.projections.port import ReadModel
from keyledger.testing.eventlog_suite import Connect, EventLogSuite, Forget
from keyledger.testing.ledger_suite import LedgerSuite, Opener
from keyledger.testing.read_model_suite import Open, ReadModelSuite
from tests.simulation.faults import CALM, World
from tests.simulation.ledger import Database, SimulatedLedger
from tests.simulation.log import Broker, SimulatedLog
from tests.simulation.loop import Process
from tests.simulation.read_models import ModelDatabase, SimulatedReadModel


class RealTime:
    """What the world asks of its loop, of the one that runs the test."""

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def create_future(self) -> Any:
        return asyncio.get_running_loop().create_future()

    def outside_at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        asyncio.get_running_loop().call_at(when, callback, *args)

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Any:
        return asyncio.get_running_loop().call_later(delay, callback, *args)


def calm_world() -> World:
    world = World(0, disorder=0.0, odds=CALM)
    world.epoch = time.time_ns() // 1_000 - round(time.monotonic() * 1_000_000)
    world.loop = RealTime()  # type: ignore[assignment]  # it has what is asked of it here
    return world


class TestSimulatedLog(EventLogSuite):
    @pytest.fixture
    def connect(self) -> Connect:
        broker = Broker(calm_world())

        async def connect() -> EventLog:
            return SimulatedLog(broker, Process("test"))

        return connect

    @pytest.fixture
    def forget(self) -> Forget:
        async def forget(log: EventLog, topic: str, partition: int) -> None:
            _, end = await log.bounds(topic, partition)
            await log.trim(topic, partition, end)

        return forget


class TestSimulatedLedger(LedgerSuite):
    @pytest.fixture
    def opener(self) -> Opener:
        database = Database(calm_world())

        async def open_simulated(clock: Clock) -> Ledger:
            return SimulatedLedger(database, Process("test"), clock=clock)

        return open_simulated


class TestSimulatedReadModel(ReadModelSuite):
    @pytest.fixture
    def open_model(self) -> Open:
        database = ModelDatabase(calm_world(), "model")

        @asynccontextmanager
        async def open_model() -> AsyncIterator[ReadModel[Any]]:
            yield SimulatedReadModel(database, Process("test"), torn=False)

        return open_model

    def example(self, number: int) -> Any:
        return f"row {number}"
