"""Rows that are handed on in memory are those that the database holds, or none."""

from keyledger.contracts.envelope import Entry, Header, seal
from keyledger.eventstore.recent import KEPT_BYTES, KEPT_ROWS, RecentRows


def row(position: int, data: bytes = b"{}") -> Entry:
    header = Header(position, "org", "key", position, "KeyCreated", 1, False, 0, None, None, "req", "a", None)
    return seal(header, data, bytes(32))


def rows(first: int, last: int, data: bytes = b"{}") -> list[Entry]:
    return [row(position, data) for position in range(first, last + 1)]


def test_a_follower_gets_what_was_committed_after_its_position() -> None:
    recent = RecentRows()
    recent.add(rows(1, 3))
    recent.add(rows(4, 4))
    assert recent.after(0, 10) == rows(1, 4)
    assert recent.after(2, 10) == rows(3, 4)
    assert recent.after(1, 2) == rows(2, 3)


def test_at_the_end_and_before_the_first_row_the_database_is_asked() -> None:
    recent = RecentRows()
    assert recent.after(0, 10) == []
    recent.add(rows(5, 6))
    assert recent.after(6, 10) == []
    assert recent.after(3, 10) == []
    assert recent.after(4, 10) == rows(5, 6)


def test_what_another_process_wrote_in_between_is_not_skipped() -> None:
    recent = RecentRows()
    recent.add(rows(1, 2))
    recent.add(rows(4, 5))
    assert recent.after(2, 10) == []
    assert recent.after(3, 10) == rows(4, 5)


def test_it_keeps_a_bounded_number_of_rows_and_bytes() -> None:
    recent = RecentRows()
    recent.add(rows(1, KEPT_ROWS + 5))
    assert recent.after(0, 1) == []
    assert recent.after(5, KEPT_ROWS)[0].header.position == 6
    recent.add(rows(KEPT_ROWS + 6, KEPT_ROWS + 6, b"x" * (KEPT_BYTES + 1)))
    assert recent.after(KEPT_ROWS + 5, 1) == []
