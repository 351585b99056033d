from collections.abc import Sequence
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyledger.contracts.auth_event import AuthAttempt
from keyledger.contracts.cloudevents import MalformedRecord
from keyledger.detection.records import BURST_KEPT_MS, is_forgettable, observe_record, read_attempts
from keyledger.eventlog.port import Record
from tests.unit.detection.attempts import MINUTE, START_MS, attempt, fold, record

ATTEMPTS = st.lists(
    st.builds(
        attempt,
        st.integers(0, 10**9),
        st.integers(0, 30 * MINUTE),
        source=st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1"]),
        code=st.sampled_from(["invalid-credential", "valid", "expired", "missing-credential"]),
        organization_id=st.sampled_from([None, "org_a", "org_b"]),
    ),
    max_size=80,
    unique_by=lambda each: each.id,
)


def cut(attempts: Sequence[AuthAttempt], cuts: Sequence[int]) -> list[Record]:
    edges = [0, *sorted(each % (len(attempts) + 1) for each in cuts), len(attempts)]
    batches = [attempts[start:end] for start, end in pairwise(edges)]
    return [record(batch, number=n + 1, offset=n) for n, batch in enumerate(batches)]


@given(ATTEMPTS, st.lists(st.integers(0, 10**6), max_size=20))
def test_how_attempts_are_cut_into_records_does_not_matter(attempts: list[AuthAttempt], cuts: list[int]) -> None:
    assert fold(cut(attempts, cuts))[0] == fold([record(attempts, number=1, offset=0)])[0]


@given(ATTEMPTS, st.lists(st.integers(0, 10**6), max_size=10), st.lists(st.integers(0, 10**6), max_size=10))
def test_resends_do_not_matter(attempts: list[AuthAttempt], cuts: list[int], again: list[int]) -> None:
    once = cut(attempts, cuts)
    twice = list(once)
    for place in again:
        resend = twice[place % len(twice)]
        twice.insert(twice.index(resend) + 1 + place % (len(twice) - twice.index(resend)), resend)
    renumbered = [msgspec.structs.replace(each, offset=offset) for offset, each in enumerate(twice)]
    assert fold(renumbered)[0] == fold(once)[0]


DENSE = st.lists(
    st.builds(
        attempt,
        st.integers(0, 10**9),
        st.integers(0, 30 * MINUTE),
        source=st.sampled_from(["192.0.2.1", "192.0.2.2"]),
    ),
    min_size=3,
    max_size=30,
    unique_by=lambda each: each.id,
)
"""Only failures of two scopes: nearly every example holds a burst, or almost one."""


@given(DENSE, st.lists(st.integers(0, 10**6), max_size=10), st.data())
def test_a_crash_between_two_writes_of_a_record_changes_no_alert(
    attempts: list[AuthAttempt], cuts: list[int], data: st.DataObject
) -> None:
    """A table whose keys are written one by one may keep any beginning of a record's entries."""
    records = cut(attempts, cuts)
    clean, _ = fold(records)
    crash_at = data.draw(st.integers(0, len(records) - 1))
    before, table = fold(records[:crash_at])
    observed = observe_record(read_attempts(records[crash_at]), table)
    written = data.draw(st.integers(0, len(observed.entries)))
    table |= dict(list(observed.entries.items())[:written])
    replay_from = data.draw(st.integers(0, crash_at))
    after, _ = fold(records[replay_from:], table)
    said = {alert.id: alert for alert in (*before, *observed.alerts, *after)}
    assert said == {alert.id: alert for alert in clean}


def test_a_gap_in_a_nodes_numbers_is_counted_as_loss() -> None:
    _, table = fold([record([], number=1, offset=0)])
    assert observe_record(read_attempts(record([], number=5, offset=1)), table).lost == 3


def test_each_boot_of_a_node_counts_for_itself() -> None:
    _, table = fold([record([], number=7, offset=0, boot="b1")])
    second = observe_record(read_attempts(record([], number=1, offset=1, boot="b2")), table)
    assert (second.lost, second.resent) == (0, False)


def test_a_resend_is_told_from_a_replay_by_its_offset() -> None:
    first = record([], number=1, offset=0)
    _, table = fold([first])
    assert not observe_record(read_attempts(first), table).resent
    assert observe_record(read_attempts(record([], number=1, offset=1)), table).resent


def test_tenants_do_not_see_each_others_failures_from_a_shared_address() -> None:
    shared = [attempt(n, n, organization_id=("org_a", "org_b")[n % 2]) for n in range(8)]
    assert fold([record(shared, number=1, offset=0)])[0] == []


def test_attempts_that_succeed_write_only_the_senders_entry() -> None:
    good = [attempt(n, n, code="valid", source=f"192.0.2.{n}") for n in range(50)]
    observed = observe_record(read_attempts(record(good, number=1, offset=0)), {})
    assert list(observed.entries) == ["0/sender/node.with.dots.b1"]


def test_forgetting_what_may_be_forgotten_changes_no_alert() -> None:
    first = record([attempt(n, n) for n in range(4)], number=1, offset=0)
    _, table = fold([first])
    later = START_MS + BURST_KEPT_MS
    swept = {key: entry for key, entry in table.items() if not is_forgettable(entry, later)}
    assert list(swept) == ["0/sender/node.with.dots.b1"]
    fifth = record([attempt(4, 5)], number=2, offset=1, timestamp=later)
    assert fold([fifth], table)[0] == fold([fifth], swept)[0] == []
    assert not any(is_forgettable(entry, later - 1) for entry in table.values())


@pytest.mark.parametrize(
    "change",
    [
        {"value": None},
        {"value": b"[{}]"},
        {"headers": ()},
        {"partition": 3},
        {"headers": (("ce_type", b"keyledger.KeyCreated"), ("ce_id", b"n.b.0.1"))},
        {"headers": (("ce_type", b"keyledger.AuthAttempts"), ("ce_id", b"17"))},
    ],
)
def test_what_is_no_record_of_attempts_is_refused_with_its_place(change: dict[str, object]) -> None:
    broken = msgspec.structs.replace(record([attempt(1, 1)], number=1, offset=42), **change)
    with pytest.raises(MalformedRecord, match="offset 42"):
        read_attempts(broken)


def test_the_senders_entry_is_written_last() -> None:
    """A crash after it alone would make the replay skip failures that no scope has folded, and miss the burst."""
    failing = [attempt(n, n) for n in range(5)]
    observed = observe_record(read_attempts(record(failing, number=1, offset=0)), {})
    assert [key.split("/")[1] for key in observed.entries] == ["burst", "sender"]
