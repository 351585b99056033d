from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from keyledger.eventstore.admission import Outcome
from keyledger.eventstore.port import (
    Append,
    Appended,
    IdempotencyClaim,
    IdempotencyMismatch,
    LedgerError,
    Replayed,
    VersionConflict,
)
from keyledger.testing.ledger_examples import an_append, an_event
from keyledger.testing.memory_ledger import MemoryStore

names = st.sampled_from(["a", "b", "c"])
versions = st.integers(0, 4)


@st.composite
def appends(draw: st.DrawFn) -> Append:
    """Few streams, versions and keys, so that they conflict, guard and replay each other all the time."""
    claim = IdempotencyClaim(draw(names).encode(), draw(names).encode(), 201) if draw(st.booleans()) else None
    return an_append(
        draw(names),
        draw(versions),
        events=tuple(an_event() for _ in range(draw(st.integers(0, 2)))),
        guards=draw(st.dictionaries(names, versions, max_size=1)),
        idempotency=claim,
    )


def outcome(result: Outcome) -> object:
    return (type(result), str(result)) if isinstance(result, LedgerError) else result


def commit(batches: Sequence[Sequence[Append]]) -> tuple[MemoryStore, list[object]]:
    store = MemoryStore()
    return store, [outcome(result) for batch in batches for result in store.commit(batch, now=1)]


@given(st.lists(appends(), max_size=30), st.data())
def test_how_appends_are_cut_into_batches_changes_nothing(sequence: list[Append], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(sequence)))))
    batches = [sequence[start:end] for start, end in zip([0, *cuts], [*cuts, len(sequence)], strict=True)]
    one_by_one, expected = commit([[append] for append in sequence])
    in_batches, outcomes = commit(batches)
    assert outcomes == expected
    assert in_batches.entries == one_by_one.entries
    assert in_batches.claims == one_by_one.claims


@given(st.lists(appends(), max_size=20))
def test_a_batch_that_was_committed_may_be_handed_in_again(batch: list[Append]) -> None:
    """So an uncertain commit is resolved by trying again: what was written is found, and nothing is written twice.

    An append without events and claim leaves nothing by which to find it: it may conflict the second time, rightly.
    """
    store = MemoryStore()
    first = store.commit(batch, now=1)
    written, claims = list(store.entries), dict(store.claims)
    second = store.commit(batch, now=1)
    for append, before, after in zip(batch, first, second, strict=True):
        if not isinstance(before, LedgerError) and (append.events or append.idempotency):
            assert after == before
    fresh = [a.append_id for a, before in zip(batch, first, strict=True) if isinstance(before, LedgerError)]
    assert {row.header.append_id for row in store.entries[len(written) :]} <= set(fresh)
    assert {kept.append_id for kept in store.claims.values()} <= {k.append_id for k in claims.values()} | set(fresh)


@given(st.lists(appends(), max_size=30))
def test_only_what_was_admitted_leaves_anything(sequence: list[Append]) -> None:
    store, outcomes = commit([sequence])
    admitted = [append for append, done in zip(sequence, outcomes, strict=True) if isinstance(done, Appended)]
    assert [row.header.append_id for row in store.entries] == [a.append_id for a in admitted for _ in a.events]
    assert {claim.append_id for claim in store.claims.values()} <= {append.append_id for append in admitted}


def test_an_append_of_another_command_at_the_same_version_is_a_conflict() -> None:
    store = MemoryStore()
    store.commit([an_append("a", events=(an_event(), an_event()))], now=1)
    for other in (an_append("a"), an_append("a", 1), an_append("a", events=(an_event(), an_event()))):
        (refusal,) = store.commit([other], now=1)
        assert isinstance(refusal, VersionConflict)


def test_a_stream_may_guard_itself() -> None:
    store = MemoryStore()
    held, refused = store.commit([an_append("a", guards={"a": 0}), an_append("a", 1, guards={"a": 0})], now=1)
    assert isinstance(held, Appended)
    assert isinstance(refused, VersionConflict)


def test_a_replay_comes_before_a_conflict() -> None:
    """A client that repeats its request must not be told that its own first attempt is in its way."""
    store = MemoryStore()
    claim = IdempotencyClaim(b"scope", b"request", 201)
    store.commit([an_append("a", idempotency=claim)], now=1)
    repeated, changed = store.commit(
        [an_append("a", idempotency=claim), an_append("a", idempotency=replace(claim, request_digest=b"other"))], now=1
    )
    assert repeated == Replayed(201, "a", 1, 1)
    assert isinstance(changed, IdempotencyMismatch)
