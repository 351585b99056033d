"""A running verifier node: follows the ledger and its heads, is registered, reports, and tells of every attempt."""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from typing import Final, NoReturn, Protocol, TypeVar

import msgspec
from msgspec import Struct

from keyledger.contracts.auth_event import AuthAttempt, Surface
from keyledger.contracts.cloudevents import attributes
from keyledger.contracts.freshness import REPORT_TYPE, StalePolicy, VerifierReport, decode_head
from keyledger.contracts.ports import Clock, Randomness
from keyledger.contracts.registry import UNREADABLE
from keyledger.contracts.topics import HEADS, VERIFIERS
from keyledger.contracts.verdict import Code
from keyledger.domain.events import Environment
from keyledger.eventlog.port import EventLog, LogUnavailable, NewRecord, OffsetOutOfRange, Producer, Record
from keyledger.projections.port import Checkpoint
from keyledger.projections.runner import ProjectionRunner
from keyledger.verification.auth_events import AuthEventSink
from keyledger.verification.fingerprint import KeySource, fingerprint_key
from keyledger.verification.freshness import Freshness
from keyledger.verification.index import LmdbIndex
from keyledger.verification.projector import VerificationProjection
from keyledger.verification.verdict import Ask, Verdict
from keyledger.verification.verifier import PepperSource, Verifier

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS: Final = 1.0
RETRY_SECONDS: Final = 0.2
_BOOT_BYTES: Final = 8

T = TypeVar("T")


class NodePeppers(PepperSource, KeySource, Protocol):
    """The peppers, and keys for other purposes."""


class NodeSettings(Struct, frozen=True, kw_only=True):
    """What a node is called, whom it answers for (no organizations: all), and how old its answers may be."""

    node: str
    organizations: tuple[str, ...] = ()
    environments: tuple[Environment, ...] = ("dev", "staging", "prod")
    on_stale: StalePolicy = "refuse"
    max_staleness_seconds: float = 10
    clock_skew_seconds: float = 1


class VerifierNode:
    """One verifier in this process. Ask ``verify``; keep ``run`` running; the ports stay the caller's to close.

    Before its registration is acknowledged and whenever it cannot prove that it is fresh, every verdict is
    ``verifier-stale``.
    """

    def __init__(
        self,
        index: LmdbIndex,
        peppers: NodePeppers,
        event_log: EventLog,
        *,
        settings: NodeSettings,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self.settings = settings
        self.boot = randomness.token_hex(_BOOT_BYTES)
        self._index, self._log, self._clock = index, event_log, clock
        at = index.applied()
        self.freshness = Freshness(
            store=at.store,
            position=at.position,
            max_staleness_seconds=settings.max_staleness_seconds,
            clock_skew_seconds=settings.clock_skew_seconds,
            on_stale=settings.on_stale,
            clock=clock,
            whole=index.was_whole,
            on_whole=index.note_whole,
        )
        self.verifier = Verifier(
            index,
            peppers,
            self.freshness,
            fingerprint_key=fingerprint_key(peppers),
            organizations=settings.organizations,
            environments=settings.environments,
        )
        self.sink = AuthEventSink(event_log, node=settings.node, boot=self.boot, clock=clock)
        self.runner = ProjectionRunner(VerificationProjection(), index, event_log, clock=clock)
        self._version = version("keyledger")
        self.verdicts: Counter[Code] = Counter()
        self._reports = 0
        index.on_commit = self._committed

    def verify(self, token_text: str | None, ask: Ask, *, surface: Surface = "verify") -> Verdict:
        """Return the verdict, and record the attempt. Waits for nothing; to be called in the event loop's thread."""
        verdict = self.verifier.verify(token_text, ask)
        self.verdicts[verdict.code] += 1
        self.sink.record(
            AuthAttempt(
                id=self.sink.next_id(),
                at=ask.now,
                node=self.settings.node,
                surface=surface,
                code=verdict.code,
                source=ask.source,
                organization_id=verdict.organization_id or verdict.claimed.organization_id,
                key_id=verdict.key_id or verdict.claimed.key_id,
                secret_id=verdict.secret_id,
                fingerprint=verdict.claimed.fingerprint,
                environment=verdict.environment,
                request_id=ask.request_id,
                permission=ask.permission,
            )
        )
        return verdict

    def unready(self) -> str | None:
        """Say why no key can be verified here now; None where one can be."""
        freshness = self.freshness
        if not freshness.admitted:
            return "the verifier node is not registered yet"
        if freshness.fresh_as_of is None:
            return f"the verifier node has not consumed the ledger yet: it is at position {freshness.position}"
        if not freshness.may_answer(self._clock.now()):
            return f"the verifier node cannot prove any more that it is fresh: it is at position {freshness.position}"
        return None

    @property
    def started(self) -> bool:
        """Whether the node is registered and has applied the ledger's head as it was found at the start.

        It may have become stale since.
        """
        return self.freshness.admitted and self.freshness.fresh_as_of is not None

    async def run(self) -> None:
        """Keep the node going until cancelled; then the attempts that are left are sent.

        Raises:
            GapInLedger, ForeignHistory, MalformedRecord, CheckpointMoved, IndexFull: the index cannot
                go on; somebody has to look.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self.runner.run(), name="verifier-projection")
                tasks.create_task(self._follow_heads(), name="verifier-heads")
                tasks.create_task(self._report(), name="verifier-reports")
                tasks.create_task(self.sink.run(), name="verifier-auth-events")
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from failed
        finally:
            self.freshness.admitted = False

    def _committed(self, checkpoint: Checkpoint) -> None:
        self.freshness.applied(checkpoint.store, checkpoint.position)

    async def _follow_heads(self) -> NoReturn:
        while True:
            # The last one there is: with it the node knows how far it has to come, however long nobody wrote one.
            first, end = await self._patiently(lambda: self._log.bounds(HEADS.name, 0))
            offset = max(first, end - 1)
            reader = await self._patiently(lambda: self._log.reader(HEADS.name, 0, offset))  # noqa: B023 - called here
            try:
                while True:
                    for record in await self._patiently(lambda: reader.poll(max_records=100, timeout_seconds=1.0)):  # noqa: B023 - called here
                        self._hear(record)
            except OffsetOutOfRange:
                log.warning("the heads of the ledger were deleted before they were read: going on with the last one")
            finally:
                await reader.close()

    def _hear(self, record: Record) -> None:
        try:
            head = decode_head(record.value or b"")
        except UNREADABLE as error:
            # Not believed, so at worst the node becomes stale: whoever writes here must not be able to stop it.
            self.freshness.refused_heads += 1
            log.error("%s offset %d is no head of the ledger: %s", record.topic, record.offset, error)  # noqa: TRY400 - the place is enough
            return
        self.freshness.heard(head, now=self._clock.now())

    async def _report(self) -> NoReturn:
        producer = await self._patiently(self._log.producer)
        try:
            await self._patiently(lambda: self._send_report(producer))
            self.freshness.admitted = True
            while True:
                await self._clock.sleep(HEARTBEAT_SECONDS)
                await self._patiently(lambda: self._send_report(producer))
        finally:
            await producer.close()

    async def _send_report(self, producer: Producer) -> None:
        self._reports += 1
        now = self._clock.now()
        report = VerifierReport(
            node=self.settings.node,
            boot=self.boot,
            version=self._version,
            organizations=self.settings.organizations,
            environments=self.settings.environments,
            on_stale=self.settings.on_stale,
            position=self.freshness.position,
            fresh_as_of=self.freshness.fresh_as_of,
            at=now,
        )
        headers = attributes(
            type=REPORT_TYPE,
            id=f"{self.settings.node}.{self.boot}.{self._reports}",
            source=f"/keyledger/verifiers/{self.settings.node}",
            time=now,
        )
        record = NewRecord(self.settings.node.encode(), msgspec.json.encode(report), headers)
        await producer.send(VERIFIERS.name, 0, [record])

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return the log's answer, however long it is away."""
        failures = 0
        while True:
            try:
                return await ask()
            except LogUnavailable as error:
                if not failures:
                    log.warning("the verifier node waits for the log: %s", error)
                failures += 1
                await self._clock.sleep(RETRY_SECONDS)
