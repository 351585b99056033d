"""The distributed shell around the detectors: one Faust agent over ``keyledger.auth-by-source.v1``.

Faust gives out partitions and recovers the table; what this shell does otherwise:

- A page of records is one event, and Faust acknowledges none: the offset that it commits is that of the last record
  whose entries are written (``changelog.py``, infra/decisions/0014).
- Whatever fails ends the process with its reason. Faust would restart the agent behind the event that failed.
- Nothing is read between the table's recovery and the return to the committed offsets, and a record that does not
  follow the one before ends the process (infra/decisions/0007).
- Alerts are published and acknowledged before their record's entries are written.
"""

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

import faust
import structlog
from faust.types import TP

from keyledger.contracts.ports import Clock
from keyledger.contracts.topics import AUTH_BY_SOURCE, Topic
from keyledger.detection.records import SWEEP_EVERY_MS, is_forgettable, observe_record, read_attempts
from keyledger.eventlog.kafka_security import KafkaSecurity
from keyledger.eventlog.port import EventLog, LogUnavailable, Producer, Record
from keyledger_anomalies.alerts import Publish
from keyledger_anomalies.changelog import ChangelogLane
from keyledger_anomalies.faust_consumer import SteadyTables, SteadyTransport, credentials
from keyledger_anomalies.table import TableEntries
from keyledger_anomalies.tally import Tally
from keyledger_anomalies.watchdog import watch_progress

GROUP: Final = "keyledger-anomalies"
TABLE: Final = "detector"
COMMIT_SECONDS: Final = 0.5
SESSION_SECONDS: Final = 10
"""Faust's default of a minute would leave a killed process's partitions unread for that long."""
PAGE_RECORDS: Final = 100
"""Folded without a pause: 2 ms where each attempt comes alone, 12 ms where a record holds fifty."""
BUFFERED_PAGES: Final = 8
HANDOVER_SECONDS: Final = 5
STOP_SECONDS: Final = 10
RETRY_SECONDS: Final = 0.5
MAX_REPLICAS: Final = 3

log = structlog.get_logger(__name__)


class DetectorFailed(Exception):
    """Faust stopped by itself; its own reason is the cause."""


class FaustDetector:
    """Folds the attempts of the partitions that its consumer group gives it.

    Args:
        bootstrap: ``host:port`` of some brokers, separated by commas.
        security: how to encrypt and who we are.
        data_dir: a folder of its own; nothing in it is needed again.
        event_log: the same cluster, to write to and to compare with.
        publish: says alerts.
        stall_seconds: how long lag without progress is borne.
        session_seconds: how long a killed process keeps its partitions.
    """

    def __init__(
        self,
        *,
        bootstrap: str,
        security: KafkaSecurity,
        data_dir: Path,
        event_log: EventLog,
        publish: Publish,
        clock: Clock,
        tally: Tally,
        topic: Topic = AUTH_BY_SOURCE,
        group: str = GROUP,
        stall_seconds: float = 120.0,
        session_seconds: int = SESSION_SECONDS,
    ) -> None:
        self._log, self._publish, self._clock, self._tally = event_log, publish, clock, tally
        self._stall_seconds = stall_seconds
        self._topic = topic
        self._app: Any = faust.App(
            group,
            broker=";".join(f"kafka://{server}" for server in bootstrap.split(",")),
            broker_credentials=credentials(security),
            broker_commit_interval=COMMIT_SECONDS,
            broker_max_poll_records=PAGE_RECORDS,
            broker_session_timeout=session_seconds,
            broker_heartbeat_interval=session_seconds / 4,
            consumer_auto_offset_reset="earliest",
            processing_guarantee="at_least_once",
            stream_buffer_maxsize=BUFFERED_PAGES,
            stream_wait_empty=False,  # else it waits for ever for a record that cannot be folded
            store="memory://",
            TableManager=SteadyTables,
            datadir=data_dir,
            table_standby_replicas=0,
            topic_partitions=topic.partitions,
            topic_disable_leader=True,
            web_enabled=False,
            autodiscover=False,
        )
        self._app.transport = SteadyTransport(self._app.conf.broker_consumer, self._app, written=self._written)
        self._changelog = f"{group}-{TABLE}-changelog"
        self._table = self._app.Table(TABLE, key_type=bytes, value_type=bytes, partitions=topic.partitions)
        self._entries = TableEntries(self._table)
        attempts = self._app.topic(topic.name, key_serializer="raw", value_serializer="raw", acks=False)
        self._app.agent(attempts, name="detector")(self._agent)
        self._app.on_partitions_revoked.connect(self._on_revoked, weak=False)
        self._app.on_rebalance_complete.connect(self._on_recovered, weak=False)
        self._lanes = list[ChangelogLane]()
        self._failed: Exception | None = None
        self._failure = asyncio.Event()
        self._revocations = 0
        self._due: dict[int, int] = {}
        """Partition that is being read -> the offset of the record that must come next."""
        self._swept_ms: dict[int, int] = {}

    def unready(self) -> str | None:
        """Say why nothing is read yet; None once the table is recovered and partitions are being read."""
        app = self._app
        recovered = app.started and not app.rebalancing and app.tables.recovery.completed.is_set()
        return None if recovered else "the detector's table is not recovered yet"

    async def run(self) -> None:
        """Read until cancelled. A log that is away is waited for.

        Raises:
            DetectorStalled: lag without progress.
            DetectorFailed: Faust gave up.
            MalformedRecord: a record is none of attempts; its offset was not committed.
        """
        producer = await self._connected()
        self._lanes = [self._lane(producer, partition) for partition in range(self._topic.partitions)]
        ends = {
            asyncio.create_task(self._failure.wait(), name="detector-failure"),
            asyncio.create_task(self._app._crashed.wait(), name="detector-crashed"),  # noqa: SLF001 - mode has no other way to wait for it
            asyncio.create_task(
                watch_progress(self._written, self._behind, clock=self._clock, stall_seconds=self._stall_seconds),
                name="detector-watchdog",
            ),
            *(asyncio.create_task(lane.run(), name="detector-changelog") for lane in self._lanes),
        }
        starting = asyncio.create_task(self._start(), name="detector-start")
        try:
            ended, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            for end in ended:
                end.result()
            if self._failed is not None:
                raise self._failed
            raise DetectorFailed(f"faust stopped: {self._app.crash_reason!r}") from self._app.crash_reason
        finally:
            # Before Faust leaves the group: who gets the partitions must find in the table what is folded.
            await self._on_revoked()
            await self._stop()
            for task in (starting, *ends):
                task.cancel()
            await asyncio.gather(starting, *ends, return_exceptions=True)
            await producer.close()

    async def _connected(self) -> Producer:
        while True:
            try:
                await self._log.bounds(self._topic.name, 0)
                await self._create_changelog()
                return await self._log.producer()
            except LogUnavailable as error:
                log.warning("the detector waits for the log", error=str(error))
                await self._clock.sleep(RETRY_SECONDS)

    def _lane(self, producer: Producer, partition: int) -> ChangelogLane:
        return ChangelogLane(
            producer, self._changelog, partition, publish=self._publish, forget=self._forget, clock=self._clock
        )

    async def _start(self) -> None:
        try:
            await self._app.start()
        except Exception as error:  # noqa: BLE001 - run() raises it
            self._fail(error)

    async def _stop(self) -> None:
        # A task of its own, left behind when it hangs: some waits inside swallow a cancellation.
        stopping = asyncio.create_task(self._app.stop(), name="detector-stop")
        done, _ = await asyncio.wait({stopping}, timeout=STOP_SECONDS)
        if not done:
            log.warning("faust does not stop; what it has not committed will be read again")

    async def _create_changelog(self) -> None:
        """Make the changelog before anything is read: Faust's own way races with its recovery of it."""
        producer = await self._app.maybe_start_producer()
        brokers = len(producer._producer.client.cluster.brokers())  # noqa: SLF001 - Faust has no way to ask
        await producer.create_topic(
            self._changelog,
            self._topic.partitions,
            min(MAX_REPLICAS, brokers),
            compacting=True,
            deleting=False,
            ensure_created=False,  # an existing one is what we want; True would refuse it
        )

    async def _agent(self, stream: Any) -> None:
        async for event in stream.events():
            try:
                await self._fold(event.message.value)
            except Exception as error:  # noqa: BLE001 - run() raises it; the offset stays uncommitted
                self._fail(error)
                await asyncio.Event().wait()

    async def _fold(self, page: Sequence[Record]) -> None:
        lane = self._lanes[page[0].partition]
        await lane.room()
        for record in page:
            due = self._due.get(record.partition, record.offset)
            if record.offset > due:
                await self._skipped(record, due)
            if record.partition not in self._due:
                return  # of partitions that were given away meanwhile: whoever gets them reads it again
            self._due[record.partition] = max(due, record.offset + 1)
            attempts = read_attempts(record)
            observed = observe_record(attempts, self._entries)
            forgotten = self._forgotten(record)
            for key in forgotten:
                self._entries.pop(key, None)
            self._entries.update(observed.entries)
            self._tally.count(attempts, observed)
            lane.add(observed, forgotten, self._due[record.partition])

    def _written(self) -> dict[TP, int]:
        return {TP(self._topic.name, partition): self._lanes[partition].written for partition in self._due}

    async def _skipped(self, record: Record, due: int) -> None:
        """Raise DetectorFailed where records that the log still holds were passed over."""
        first, _ = await self._log.bounds(record.topic, record.partition)
        where = f"partition {record.partition} went on at {record.offset} where {due} was due"
        if record.offset > first:
            raise DetectorFailed(f"{where}: faust passed over records; they are read again after a restart")
        log.warning("attempts were deleted unread", partition=record.partition, next_offset=due, first_held=first)

    async def _forget(self, partition: int, keys: Collection[str]) -> None:
        sent = [self._table.send_changelog(partition, key.encode(), None, "raw", "raw") for key in keys]
        try:
            await asyncio.gather(*sent)
        except Exception as error:
            # Whatever its client calls it; deleting again changes nothing.
            raise LogUnavailable(f"deleting from the detector's table: {error!r}") from error

    def _forgotten(self, record: Record) -> list[str]:
        if record.timestamp < self._swept_ms.get(record.partition, 0) + SWEEP_EVERY_MS:
            return []
        self._swept_ms[record.partition] = record.timestamp
        own = f"{record.partition}/"
        return [k for k, e in self._entries.items() if k.startswith(own) and is_forgettable(e, record.timestamp)]

    def _fail(self, error: Exception) -> None:
        self._failed = self._failed or error
        self._failure.set()

    async def _behind(self) -> list[str]:
        if why := self.unready():
            return [why]
        lags = []
        for tp, at in sorted(self._written().items()):
            try:
                _, end = await self._log.bounds(tp.topic, tp.partition)
            except LogUnavailable:
                return []  # nothing to read from: that is the broker's trouble, and ending would not help
            if at < end:
                lags.append(f"partition {tp.partition} at {at} of {end}")
        return lags

    async def _on_revoked(self, *_: Any, **__: Any) -> None:
        """Write what is folded before the partitions go: the next owner must not find it missing, or get it late."""
        self._revocations += 1
        self._due.clear()
        try:
            async with asyncio.timeout(HANDOVER_SECONDS):
                for lane in self._lanes:
                    await lane.empty()
        except TimeoutError:
            self._fail(DetectorFailed("partitions were given away before their entries were written"))

    async def _on_recovered(self, *_: Any, **__: Any) -> None:
        """Hold the fetcher; Faust next resumes the partitions, returns to the committed offsets, and lets it go on."""
        consumer = self._app.consumer
        consumer.stop_flow()
        revocations = self._revocations
        committed = await consumer.seek_to_committed() if consumer.assignment() else {}
        if revocations != self._revocations:
            return  # given away meanwhile: Faust goes on for all that, but what it reads now is not ours to fold
        self._due = {tp.partition: offset or 0 for tp, offset in committed.items() if tp.topic == self._topic.name}
        for partition, offset in self._due.items():
            self._lanes[partition].written = offset  # another process may have read on meanwhile
