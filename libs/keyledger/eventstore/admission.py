"""Who may be written: pure, the same for every backend.

A batch is admitted in order, under the head's lock, against what the ledger holds at that moment. Each append sees its
batch-mates before it as if they had been written already; a refused one leaves no trace and touches no other.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from msgspec import Struct

from keyledger.contracts.envelope import Entry, Header, seal
from keyledger.eventstore.port import (
    Append,
    Appended,
    Head,
    IdempotencyClaim,
    IdempotencyMismatch,
    LedgerError,
    Profile,
    Replayed,
    VersionConflict,
)

CLAIM_LIFETIME_US: Final = 24 * 60 * 60 * 1_000_000

Outcome = Appended | Replayed | LedgerError


class Tail(Struct, frozen=True):
    """The end of a stream: its last event's version, position and time; zeros where there is none."""

    version: int = 0
    position: int = 0
    recorded_at: int = 0


class KeptClaim(Struct, frozen=True):
    """An idempotency record: a claim, the append that holds it and what that was answered. Times in microseconds."""

    scope: bytes
    request_digest: bytes
    status: int
    stream: str
    position: int
    version: int
    recorded_at: int
    append_id: str
    claimed_at: int


class Known(Struct, frozen=True):
    """What the ledger holds of the things a batch asks about, read under the lock. ``now``: wall clock, us.

    ``written``: what ``suspects`` found to be in the ledger already, by append_id.
    """

    head: Head
    now: int
    tails: Mapping[str, Tail]
    claims: Mapping[bytes, KeptClaim]
    written: Mapping[str, Appended]


class Admission(Struct, frozen=True):
    """What becomes of a batch: one outcome each, in order, and everything that has to be written with it."""

    outcomes: list[Outcome]
    head: Head
    entries: list[Entry]
    claims: list[KeptClaim]
    profiles: list[Profile]
    addresses: list[tuple[int, str | None, str]]
    """(position, actor_user, source address)"""

    def writes(self) -> bool:
        """Say whether there is anything to write."""
        return bool(self.entries or self.claims or self.profiles)


class Suspect(Struct, frozen=True):
    """An append whose stream has moved on: perhaps by itself, in a commit whose answer was lost.

    It is, if the row at ``stream``, ``first`` carries its ``append_id``; its last row is then at ``last``.
    """

    append_id: str
    stream: str
    first: int
    last: int


def streams_of(batch: Iterable[Append]) -> set[str]:
    """Return every stream whose version the batch depends on."""
    streams: set[str] = set()
    for append in batch:
        streams.add(append.stream)
        streams.update(append.guards)
    return streams


def scopes_of(batch: Iterable[Append]) -> set[bytes]:
    """Return the scope of every idempotency claim in the batch."""
    return {append.idempotency.scope for append in batch if append.idempotency is not None}


def suspects(batch: Iterable[Append], tails: Mapping[str, Tail]) -> list[Suspect]:
    """Return the appends that may be in the ledger already. Nearly always none, so the question costs nothing."""
    return [
        Suspect(
            append.append_id, append.stream, append.expected_version + 1, append.expected_version + len(append.events)
        )
        for append in batch
        if append.events and tails.get(append.stream, _NO_TAIL).version >= append.expected_version + len(append.events)
    ]


def replay_of(claim: IdempotencyClaim, kept: KeptClaim | None, now: int) -> Replayed | None:
    """Return what the claim's command did, None where it is new or its record older than 24 hours.

    Raises:
        IdempotencyMismatch: the key was used for another request.
    """
    if kept is None or kept.claimed_at + CLAIM_LIFETIME_US <= now:
        return None
    if kept.request_digest != claim.request_digest:
        raise IdempotencyMismatch("this idempotency key was used for another request")
    return Replayed(kept.status, kept.stream, kept.position, kept.version)


def admit(batch: Sequence[Append], known: Known) -> Admission:
    """Decide on each append of the batch, in order."""
    admitting = _Admitting(known)
    outcomes: list[Outcome] = []
    for append in batch:
        try:
            outcomes.append(admitting.outcome(append))
        except LedgerError as refusal:
            outcomes.append(refusal)
    return Admission(
        outcomes,
        admitting.head,
        admitting.entries,
        list(admitting.new_claims.values()),
        list(admitting.profiles.values()),
        admitting.addresses,
    )


_NO_TAIL: Final = Tail()


class _Admitting:
    """A batch on its way: what is known, and what its earlier members add to it."""

    def __init__(self, known: Known) -> None:
        self.head = known.head
        self.recorded_at = max(known.now, known.head.recorded_at)  # a clock that steps back must not reorder time
        self.tails = dict(known.tails)
        self.claims = dict(known.claims)
        self.written = dict(known.written)
        self.entries: list[Entry] = []
        self.new_claims: dict[bytes, KeptClaim] = {}
        self.profiles: dict[str, Profile] = {}
        self.addresses: list[tuple[int, str | None, str]] = []

    def outcome(self, append: Append) -> Appended | Replayed:
        earlier = self._earlier(append)
        if earlier is not None:
            return earlier
        tail = self._require_versions(append)
        if append.events:
            tail = self._write(append, tail)
        appended = Appended(tail.position, tail.version, tail.recorded_at)
        self.written[append.append_id] = appended
        if append.profile is not None:
            self.profiles[append.profile.user_id] = append.profile
        if append.idempotency is not None:
            self._keep_claim(append, append.idempotency, appended)
        return appended

    def _earlier(self, append: Append) -> Appended | Replayed | None:
        """Return the outcome of a command that was carried out before: by this very append, or by another."""
        if append.idempotency is not None:
            kept = self.claims.get(append.idempotency.scope)
            if kept is not None and kept.append_id == append.append_id:
                return Appended(kept.position, kept.version, kept.recorded_at)
            replay = replay_of(append.idempotency, kept, self.recorded_at)
            if replay is not None:
                return replay
        return self.written.get(append.append_id)

    def _require_versions(self, append: Append) -> Tail:
        tail = self.tails.get(append.stream, _NO_TAIL)
        if tail.version != append.expected_version:
            raise VersionConflict(append.stream, expected=append.expected_version, actual=tail.version)
        for stream, expected in append.guards.items():
            actual = self.tails.get(stream, _NO_TAIL).version
            if actual != expected:
                raise VersionConflict(stream, expected=expected, actual=actual, guard=True)
        return tail

    def _write(self, append: Append, tail: Tail) -> Tail:
        position, prev_hash = self.head.position, self.head.hash
        version = tail.version
        for event in append.events:
            position += 1
            version += 1
            header = Header(
                position,
                append.organization_id,
                append.stream,
                version,
                event.type,
                event.schema_version,
                event.may_ignore,
                self.recorded_at,
                append.actor_user,
                append.actor_key,
                append.request_id,
                append.append_id,
                append.traceparent,
            )
            entry = seal(header, event.data, prev_hash)
            prev_hash = entry.hash
            self.entries.append(entry)
            if append.source_address is not None:
                self.addresses.append((position, append.actor_user, append.source_address))
        self.head = Head(position, prev_hash, self.recorded_at)
        self.tails[append.stream] = tail = Tail(version, position, self.recorded_at)
        return tail

    def _keep_claim(self, append: Append, claim: IdempotencyClaim, appended: Appended) -> None:
        self.claims[claim.scope] = self.new_claims[claim.scope] = KeptClaim(
            claim.scope,
            claim.request_digest,
            claim.status,
            append.stream,
            appended.position,
            appended.version,
            appended.recorded_at,
            append.append_id,
            self.recorded_at,
        )
