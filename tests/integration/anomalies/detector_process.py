"""The Faust detector as a process of its own, to be killed by tests: prints ``ready`` once it reads.

Arguments: broker, data folder, name of the attempts' topic, of the consumer group, of the alerts' topic.
"""

import asyncio
import contextlib
import os
import signal
import sys
from pathlib import Path

import msgspec
import uvloop
from prometheus_client import CollectorRegistry

from keyledger.contracts.failpoints import arm
from keyledger.contracts.topics import ALERTS, AUTH_BY_SOURCE
from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.kafka_security import PLAINTEXT
from keyledger.runtime.clock import SystemClock
from keyledger.runtime.collecting import collect_seldom
from keyledger_anomalies.alerts import AlertPublisher
from keyledger_anomalies.faust_app import FaustDetector
from keyledger_anomalies.tally import Tally


async def main(bootstrap: str, data_dir: Path, topic: str, group: str, alerts_topic: str) -> None:
    log = KafkaLog(bootstrap)
    detector = FaustDetector(
        bootstrap=bootstrap,
        security=PLAINTEXT,
        data_dir=data_dir,
        event_log=log,
        publish=AlertPublisher(log, topic=msgspec.structs.replace(ALERTS, name=alerts_topic)),
        clock=SystemClock(),
        tally=Tally(CollectorRegistry()),
        topic=msgspec.structs.replace(AUTH_BY_SOURCE, name=topic),
        group=group,
        stall_seconds=30,
        session_seconds=6,  # the least that a broker with its own settings allows
    )
    running = asyncio.create_task(detector.run())
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, running.cancel)
    while detector.unready() is not None and not running.done():  # noqa: ASYNC110 - readiness is asked for, as a probe does
        await asyncio.sleep(0.02)
    if detector.unready() is None:
        print("ready", flush=True)  # noqa: T201 - the test waits for this line
    with contextlib.suppress(asyncio.CancelledError):  # it was told to go, and has left its group
        await running


if __name__ == "__main__":
    collect_seldom()  # as every process of ours does
    arm(os.environ.get("KEYLEDGER_FAILPOINT", ""))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:]))
