"""How every write is carried out: replay or decide, append under guards, and decide again when somebody was faster."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Final

from fastapi import Request
from msgspec import Struct

from keyledger.contracts.envelope import Fact, Header
from keyledger.contracts.ports import Randomness
from keyledger.contracts.registry import EncodedEvent, encode
from keyledger.domain.events import Event
from keyledger.eventstore.port import (
    Append,
    Appended,
    IdempotencyClaim,
    Ledger,
    Profile,
    Replayed,
    VersionConflict,
)
from keyledger.web.idempotency import InFlight, claim_for
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem
from keyledger_commands.caller import Caller, caller_of
from keyledger_commands.streams import Read, Stream, Streams

ATTEMPTS: Final = 5
"""How often a command is decided anew before its caller is told that others are faster."""


class Call(Struct, frozen=True, kw_only=True):
    """A management request that may be carried out: who sends it, from where, and how it is found again."""

    caller: Caller
    request_id: str
    traceparent: str | None
    claim: IdempotencyClaim | None


class Decision(Struct, frozen=True, kw_only=True):
    """What is to be written, on which version of which stream, as long as the ``guards`` hold."""

    stream: str
    before: Stream
    events: Sequence[Event]
    guards: Mapping[str, int] = {}
    profile: Profile | None = None


class Written(Struct, frozen=True, kw_only=True):
    """What a write came to: the stream as it was then. ``replayed``: nothing was done now."""

    status: int
    stream: Stream
    position: int
    replayed: bool

    @property
    def version(self) -> int:
        """The version that the write led to."""
        return self.stream.version


Decide = Callable[[Principal, Read], Awaitable[Decision]]
"""Reads and decides for a caller; called again after a conflict."""


InForce = Callable[[int], Awaitable[object]]
"""Returns once the verifier of this process has applied a position, or when it takes too long."""


async def at_once(_position: int) -> None:
    """Return: verifiers are other processes, and an answer waits for none of them."""


class Writes:
    """Carries out commands against the ledger.

    ``in_force``: a change of what exists is answered behind it; what is new takes no right away, and does not wait.
    """

    def __init__(
        self, ledger: Ledger, streams: Streams, randomness: Randomness, *, in_force: InForce = at_once
    ) -> None:
        self._ledger, self._streams, self._randomness = ledger, streams, randomness
        self._in_force = in_force
        self._in_flight = InFlight()

    async def open(self, request: Request, *, idempotency_key: str | None, status: int) -> Call:
        """Return the call that a request makes; ``status`` is what it is answered if it is carried out."""
        caller = caller_of(request)
        return Call(
            caller=caller,
            request_id=request.scope["keyledger.request_id"],
            traceparent=request.scope["keyledger.traceparent"],
            claim=await claim_for(request, caller.principal, idempotency_key, status),
        )

    async def carry_out(self, call: Call, status: int, prepare: Callable[[], Awaitable[Decide]]) -> Written:
        """Carry the call out, once. ``prepare`` reads the body; a replayed call is answered before that.

        For a caller who is presumed it is decided on what was read a moment ago: the ledger accepts the append only if
        that still holds. A refusal has no such proof: then caller and command are judged on what the ledger holds.

        Raises:
            Problem: what ``prepare`` and its ``Decide`` refuse; ``request-in-flight``; ``conflict`` when every attempt
                met a change that was made at the same time.
            LedgerError
        """
        with self._in_flight.hold(call.claim):
            replay = None if call.claim is None else await self._ledger.find_replay(call.claim)
            if replay is not None:
                return await self._replayed(call, replay)
            decide = await prepare()
            if not call.caller.proven:
                with suppress(Problem, VersionConflict):
                    return await self._attempt(call, status, decide, self._streams.recall)
                await call.caller.prove()
            for attempt in range(ATTEMPTS):
                if attempt:
                    await call.caller.prove()  # what has changed may be the caller's own right
                with suppress(VersionConflict):
                    return await self._attempt(call, status, decide, self._streams.load)
            raise Problem("conflict", "others keep changing it; try again", headers={"Retry-After": "1"})

    async def _attempt(self, call: Call, status: int, decide: Decide, read: Read) -> Written:
        decision = await decide(call.caller.principal, read)
        append = self._append(call, call.caller.principal, decision)
        outcome = await self._ledger.append(append)
        if isinstance(outcome, Replayed):  # another process carried it out since we asked
            return await self._replayed(call, outcome)
        call.caller.proven_by_append()
        if decision.before.version:
            await self._in_force(outcome.position)
        return _written(status, decision, append, outcome)

    def _append(self, call: Call, caller: Principal, decision: Decision) -> Append:
        # The caller's right is guarded too: who was revoked a moment ago must not write a moment later.
        guards = {**decision.guards, **caller.rests_on}
        judged_at, decided_at = guards.get(decision.stream), decision.before.version
        if judged_at is not None and judged_at != decided_at:  # it concerns the caller's own right, which has changed
            raise VersionConflict(decision.stream, expected=judged_at, actual=decided_at)
        events: tuple[EncodedEvent, ...] = tuple(encode(event) for event in decision.events)
        return Append(
            append_id=self._randomness.token_hex(16),
            organization_id=caller.organization_id,
            stream=decision.stream,
            expected_version=decision.before.version,
            events=events,
            request_id=call.request_id,
            guards={stream: version for stream, version in guards.items() if stream != decision.stream},
            actor_user=caller.user_id,
            actor_key=caller.key_id,
            traceparent=call.traceparent,
            source_address=call.caller.source or None,
            profile=decision.profile,
            idempotency=call.claim,
        )

    async def _replayed(self, call: Call, replay: Replayed) -> Written:
        if not call.caller.proven:  # no append of now has shown it
            await call.caller.prove()
        await self._in_force(replay.position)
        stream = (await self._streams.load([replay.stream]))[replay.stream]
        return Written(
            status=replay.status, stream=stream.up_to(replay.version), position=replay.position, replayed=True
        )


def _written(status: int, decision: Decision, append: Append, outcome: Appended) -> Written:
    """Return what was written without asking the ledger again: it might be gone by now, and the answer is known."""
    first = outcome.position - len(decision.events) + 1
    facts = tuple(
        Fact(_header(append, encoded, first + number, decision.before.version + 1 + number, outcome), event)
        for number, (encoded, event) in enumerate(zip(append.events, decision.events, strict=True))
    )
    stream = Stream(outcome.version, (*decision.before.facts, *facts))
    return Written(status=status, stream=stream, position=outcome.position, replayed=False)


def _header(append: Append, encoded: EncodedEvent, position: int, version: int, outcome: Appended) -> Header:
    return Header(
        position=position,
        organization_id=append.organization_id,
        stream=append.stream,
        version=version,
        type=encoded.type,
        schema_version=encoded.schema_version,
        may_ignore=encoded.may_ignore,
        recorded_at=outcome.recorded_at,
        actor_user=append.actor_user,
        actor_key=append.actor_key,
        request_id=append.request_id,
        append_id=append.append_id,
        traceparent=append.traceparent,
    )
