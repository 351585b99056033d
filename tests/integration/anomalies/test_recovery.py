"""What a recovery of the table leaves behind when another rebalance cuts it short."""

import asyncio
from pathlib import Path
from typing import Any

import faust
import msgspec
import pytest
from faust.tables import TableManager
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from prometheus_client import CollectorRegistry

from keyledger.contracts.topics import AUTH_BY_SOURCE
from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.kafka_security import PLAINTEXT
from keyledger.runtime.clock import SystemClock
from keyledger_anomalies.alerts import AlertPublisher
from keyledger_anomalies.faust_app import FaustDetector
from keyledger_anomalies.faust_consumer import SteadyTables
from keyledger_anomalies.tally import Tally
from tests.unit.detection.attempts import attempt, record

TURNS = 100


async def _settled() -> None:
    for _ in range(TURNS):  # of the loop: nothing here waits for anything else
        await asyncio.sleep(0)


def _entry(tp: TP, offset: int) -> ConsumerMessage:
    return ConsumerMessage(tp.topic, tp.partition, offset, 0.0, 0, None, b"key", b"entry %d" % offset, None, tp=tp)


@pytest.mark.parametrize(("tables", "late"), [(SteadyTables, []), pytest.param(TableManager, [8], id="faust's own")])
async def test_no_entry_of_a_recovery_that_was_cut_short_is_read_after_those_that_were_dropped(
    tables: type[TableManager], late: list[int], tmp_path: Path
) -> None:
    app: Any = faust.App(
        "recovery",
        broker="kafka://nowhere",
        store="memory://",
        TableManager=tables,
        stream_buffer_maxsize=8,
        datadir=tmp_path,
    )
    table = app.Table("entries", key_type=bytes, value_type=bytes, partitions=1)
    queue, tp = app.tables.changelog_queue, TP(table.changelog_topic.get_topic_name(), 0)
    deliver = app.topics._build_handler(tp, {table.changelog_topic.clone_using_queue(queue)})  # noqa: SLF001 - as Faust does

    async def read() -> None:
        for offset in range(20):
            await deliver(_entry(tp, offset))

    def taken() -> list[int]:
        return [queue.get_nowait().message.offset for _ in range(queue.qsize())]

    app.flow_control.resume()
    reading = asyncio.create_task(read())
    await _settled()
    assert (await queue.get()).message.offset == 0
    # The rebalance, in Faust's order; what is in the queue at any time is taken by the recovery's task.
    app.flow_control.suspend()
    app.flow_control.clear()
    reading.cancel()
    await _settled()
    came = taken()
    app.flow_control.resume()
    await _settled()
    came += taken()
    app.consumer._thread.thread_loop.close()  # noqa: SLF001 - of a thread that was not started
    assert came == late


class GivenAway:
    """A consumer whose partitions are given away while the committed offsets are asked for."""

    def __init__(self, app: Any, tp: TP) -> None:
        self._app, self._tp = app, tp

    def stop_flow(self) -> None: ...

    def assignment(self) -> set[TP]:
        return {self._tp}

    async def seek_to_committed(self) -> dict[TP, int]:
        await self._app.on_partitions_revoked.send({self._tp})
        return {self._tp: 7}


async def test_partitions_given_away_while_a_rebalance_ends_are_not_read(tmp_path: Path) -> None:
    """Faust goes on to read them: what is folded then would be written over the next owner's entries."""
    log = await EmbeddedLog.open(tmp_path / "log.db")
    producer = await log.producer()
    detector = FaustDetector(
        bootstrap="nowhere",
        security=PLAINTEXT,
        data_dir=tmp_path,
        event_log=log,
        publish=AlertPublisher(log),
        clock=SystemClock(),
        tally=Tally(CollectorRegistry()),
    )
    app, tp = detector._app, TP(AUTH_BY_SOURCE.name, 0)  # noqa: SLF001 - what Faust calls, without a broker
    detector._lanes = [detector._lane(producer, partition) for partition in range(AUTH_BY_SOURCE.partitions)]  # noqa: SLF001
    app.consumer = GivenAway(app, tp)
    await app.on_rebalance_complete.send()
    await detector._fold([msgspec.structs.replace(record([attempt(1, 1)], number=8, offset=7), topic=tp.topic)])  # noqa: SLF001
    assert detector._written() == {}  # noqa: SLF001
    assert dict(detector._entries) == {}  # noqa: SLF001
    await producer.close()
    await log.close()
