"""The Faust detector killed, handed over and sent back: the alerts and the table are those of one undisturbed pass."""

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from keyledger.contracts.failpoints import Name
from keyledger.eventlog.port import Record
from tests.faults.brokers import broker_behind_a_proxy
from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.waiting import until, until_none
from tests.integration.anomalies.fleet import (
    STANDSTILL_SECONDS,
    AlertsRead,
    DetectorEnded,
    Fleet,
    clean_pass,
    feed,
    opened,
)
from tests.integration.anomalies.traffic import PARTITIONS, records_of
from tests.unit.detection.attempts import fold
from tests.unit.relay.kit import records_of as everything_of

PLACES: Final[tuple[Name, ...]] = ("detector.before_alerts", "detector.after_alerts", "detector.after_table")
RECORDS_A_ROUND: Final = 40
LATENCY_SECONDS: Final = 0.02


class Pursuit:
    """Records fed round by round to a fleet, and what they must lead to."""

    def __init__(self, stage: Stage, fleet: Fleet, read: AlertsRead, *, rounds: int) -> None:
        self.stage, self.fleet, self.read = stage, fleet, read
        self._records = records_of(stage.seed, per_partition=RECORDS_A_ROUND * rounds, attempts_each=20)
        self._fed = 0

    async def feed(self) -> None:
        """Send one round's records, some of them twice."""
        part = self._up_to(self._fed + RECORDS_A_ROUND, since=self._fed)
        self._fed += RECORDS_A_ROUND
        await feed(self.fleet, part, resends=True)

    async def caught_up(self) -> None:
        """Wait until the alerts of everything that was fed are said."""
        await self.read.until(clean_pass(self._up_to(self._fed)).issubset)

    async def judged(self, faults: int) -> Outcome:
        """Compare alerts and table with one undisturbed pass over what the topic holds."""
        await self.caught_up()
        expected, table = set[str](), dict[str, bytes]()
        for partition in range(PARTITIONS):
            alerts, entries = fold(await everything_of(self.fleet.log, self.fleet.attempts.name, partition))
            expected |= {alert.id for alert in alerts}
            table |= entries
        outcome = Outcome(faults=faults, ok=len(expected))
        if self.read.ids != expected:
            missing, strange = len(expected - self.read.ids), len(self.read.ids - expected)
            outcome.violations.append(f"{missing} of {len(expected)} alerts are missing, {strange} should not be")
        if len({record.value for record in self.read.records}) != len(self.read.ids):
            outcome.violations.append("an alert was said again in another form")
        # The last entries follow their alerts.
        if differing := await until_none(partial(self._differing_entries, table)):
            outcome.violations.append(f"{len(differing)} of {len(table)} table entries differ: {differing[:5]}")
        return outcome

    async def _differing_entries(self, wanted: dict[str, bytes]) -> list[str]:
        """Return the keys whose last entry in the change log is another one."""
        self.fleet.check()
        written = dict[str, bytes]()
        for partition in range(PARTITIONS):
            for record in await everything_of(self.fleet.log, self.fleet.changelog, partition):
                written[(record.key or b"").decode()] = record.value or b""
        return sorted(key for key in wanted.keys() | written.keys() if wanted.get(key) != written.get(key))

    def _up_to(self, count: int, *, since: int = 0) -> dict[int, list[Record]]:
        return {partition: records[since:count] for partition, records in self._records.items()}


@asynccontextmanager
async def _pursuit(stage: Stage, bootstrap: str) -> AsyncIterator[Pursuit]:
    async with opened(bootstrap, stage.folder) as (fleet, read):
        yield Pursuit(stage, fleet, read, rounds=stage.rounds + 1)


async def _finished(pursuit: Pursuit, *, faults: int) -> Outcome:
    async with pursuit.fleet.kept_running():
        await pursuit.feed()
        return await pursuit.judged(faults)


async def _killed_at_its_places(stage: Stage) -> Outcome:
    async with _pursuit(stage, stage.servers.kafka_bootstrap()) as pursuit:
        for _ in range(stage.rounds):
            place = f"{stage.random.choice(PLACES)}:kill@{stage.random.randint(1, 3)}"
            stage.say(place)
            detector = await pursuit.fleet.spawn(KEYLEDGER_FAILPOINT=place)
            await pursuit.feed()
            async with asyncio.timeout(STANDSTILL_SECONDS):
                await detector.process.wait()
            if detector.process.returncode != -signal.SIGKILL:
                raise DetectorEnded(detector.said)
        return await _finished(pursuit, faults=stage.rounds)


async def _killed_at_any_time(stage: Stage) -> Outcome:
    async with _pursuit(stage, stage.servers.kafka_bootstrap()) as pursuit:
        return await _killed_by_the_clock(stage, pursuit)


async def _killed_far_from_its_broker(stage: Stage) -> Outcome:
    async with (
        broker_behind_a_proxy(stage.folder / "kafka") as (broker, proxy),
        _pursuit(stage, broker.bootstrap) as pursuit,
    ):
        proxy.slow(latency_seconds=LATENCY_SECONDS)
        return await _killed_by_the_clock(stage, pursuit)


async def _killed_by_the_clock(stage: Stage, pursuit: Pursuit) -> Outcome:
    async with pursuit.fleet.kept_running():
        for _ in range(stage.rounds):
            # Between the start of the process and a while after it has begun to read.
            seconds = stage.random.choice([stage.random.uniform(0, 2), stage.random.uniform(2, 10)])
            stage.say(f"killed after {seconds:.2f} s")
            feeding = asyncio.create_task(pursuit.feed())
            await asyncio.sleep(seconds)
            pursuit.fleet.kill_now()
            await feeding
        await pursuit.feed()
        return await pursuit.judged(stage.rounds)


async def _handed_over(stage: Stage) -> Outcome:
    async with _pursuit(stage, stage.servers.kafka_bootstrap()) as pursuit, pursuit.fleet.kept_running():
        await pursuit.feed()
        for _ in range(stage.rounds):
            leaving = stage.random.choice([signal.SIGTERM, signal.SIGKILL])
            stage.say(f"another comes, and goes by {leaving.name}")
            feeding = asyncio.create_task(pursuit.feed())
            other = await pursuit.fleet.start()
            other.send_signal(leaving)  # by SIGTERM it leaves the group, else its partitions wait for its session's end
            async with asyncio.timeout(STANDSTILL_SECONDS):
                await other.wait()
            await feeding
        await pursuit.feed()
        return await pursuit.judged(2 * stage.rounds)


async def _sent_back(stage: Stage) -> Outcome:
    async with _pursuit(stage, stage.servers.kafka_bootstrap()) as pursuit:
        for _ in range(stage.rounds):
            async with pursuit.fleet.kept_running():
                await pursuit.feed()
                await pursuit.caught_up()
                await pursuit.fleet.kill()
            await pursuit.fleet.end_all()  # perhaps the next was started already
            back = stage.random.choice([0, stage.random.randint(0, RECORDS_A_ROUND)])
            stage.say(f"offsets set back to {back}")
            await _set_back(pursuit.fleet, back)
        return await _finished(pursuit, faults=stage.rounds)


async def _set_back(fleet: Fleet, offset: int) -> None:
    """Commit this offset for every partition, once the group's last member is taken for dead."""
    consumer = AIOKafkaConsumer(bootstrap_servers=fleet.bootstrap, group_id=fleet.group, enable_auto_commit=False)
    places = {TopicPartition(fleet.attempts.name, partition): offset for partition in range(PARTITIONS)}

    async def committed() -> bool:
        try:
            await consumer.commit(places)
        except KafkaError:  # the group still has a member
            return False
        return True

    await consumer.start()
    try:
        consumer.assign(list(places))
        await until(committed, "the group's last member is taken for dead")
    finally:
        await consumer.stop()


def _campaign(
    name: str, breaks: str, run: Callable[[Stage], Awaitable[Outcome]], *, rounds: int, short_rounds: int = 0
) -> Campaign:
    return Campaign(
        name=f"detector-{name}",
        breaks=breaks,
        run=run,
        runs=3,
        rounds=rounds,
        short_rounds=short_rounds,
        long=not short_rounds,
        budget_minutes=2.5,
        needs=frozenset({"kafka"}),
    )


CAMPAIGNS: Final = (
    _campaign(
        "killed-at-its-places",
        "the Faust detector is killed before and after its alerts, and after its table",
        _killed_at_its_places,
        rounds=5,
        short_rounds=3,
    ),
    _campaign("killed", "the Faust detector is killed at any time", _killed_at_any_time, rounds=5),
    _campaign(
        "killed-far-from-its-broker",
        "the Faust detector is killed, 40 ms away from its broker",
        _killed_far_from_its_broker,
        rounds=5,
    ),
    _campaign(
        "handed-over",
        "a second Faust detector comes and goes",
        _handed_over,
        rounds=5,
        short_rounds=1,
    ),
    _campaign("sent-back", "the Faust detector's offsets are set back", _sent_back, rounds=4, short_rounds=1),
)
