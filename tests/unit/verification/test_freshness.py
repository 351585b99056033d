import asyncio
import logging
from typing import Any

import pytest

from keyledger.contracts.freshness import Head
from keyledger.runtime.clock import SystemClock
from keyledger.verification.freshness import Freshness
from tests.unit.verification.world import STORE, T0, Clock, us

NOW = us(T0)
SECOND = 1_000_000


def freshness(*, store: str = STORE, position: int = 5, **more: Any) -> Freshness:
    settings: dict[str, Any] = {"max_staleness_seconds": 10, "clock_skew_seconds": 1, "on_stale": "refuse"}
    made = Freshness(store=store, position=position, **{"clock": SystemClock(), **settings, **more})
    made.admitted = True
    return made


def head(position: int, at: int = NOW, store: str = STORE) -> Head:
    return Head(store=store, position=position, at=at)


def test_a_node_that_applied_what_a_head_names_is_fresh_as_of_its_time() -> None:
    node = freshness(position=5)
    assert node.is_stale(NOW)
    node.heard(head(5, NOW - SECOND), now=NOW)
    assert node.fresh_as_of == NOW - SECOND
    assert not node.is_stale(NOW)


def test_a_head_that_arrives_late_proves_its_own_time_and_not_its_arrival() -> None:
    node = freshness()
    node.heard(head(5, NOW - 60 * SECOND), now=NOW)
    assert node.is_stale(NOW)


def test_a_head_counts_once_its_position_is_applied() -> None:
    node = freshness(position=5)
    node.heard(head(7), now=NOW)
    node.heard(head(9, NOW + SECOND), now=NOW + SECOND)
    seen = []
    for position in (6, 8, 9):
        node.applied(STORE, position)
        seen.append(node.fresh_as_of)
    assert seen == [None, NOW, NOW + SECOND]


def test_an_older_head_does_not_make_a_node_older() -> None:
    node = freshness()
    node.heard(head(5), now=NOW)
    node.heard(head(4, NOW - SECOND), now=NOW)
    assert node.fresh_as_of == NOW


def test_a_head_below_what_was_applied_before_its_time_is_that_of_a_restored_ledger_and_proves_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    node = freshness(position=4, clock=Clock())
    node.applied(STORE, 5)
    node.heard(head(4, NOW + SECOND), now=NOW + SECOND)
    assert node.fresh_as_of == NOW + SECOND, "it may be older than what was applied: the clocks differ"
    with caplog.at_level(logging.ERROR):
        node.heard(head(4, NOW + SECOND + 1), now=NOW + SECOND)
    assert node.fresh_as_of == NOW + SECOND
    assert node.refused_heads == 1
    assert "restored from a backup" in caplog.text


def test_an_index_that_holds_more_than_any_head_proves_nothing_by_smaller_ones() -> None:
    node = freshness(position=5)
    node.heard(head(4), now=NOW)
    assert node.is_stale(NOW), "the ledger may have been restored from a backup while the node was down"
    node.heard(head(5), now=NOW)
    assert node.fresh_as_of == NOW


def test_a_head_of_another_ledger_is_ignored_with_an_error(caplog: pytest.LogCaptureFixture) -> None:
    node = freshness()
    with caplog.at_level(logging.ERROR):
        node.heard(head(1, store="b" * 32), now=NOW)
    assert node.fresh_as_of is None
    assert node.refused_heads == 1
    assert "b" * 32 in caplog.text


def test_a_head_from_further_ahead_than_the_declared_skew_is_not_believed() -> None:
    node = freshness()
    node.heard(head(5, NOW + SECOND + 1), now=NOW)
    assert node.fresh_as_of is None
    node.heard(head(5, NOW + SECOND), now=NOW)
    assert node.fresh_as_of == NOW + SECOND


def test_a_clock_that_is_set_back_does_not_keep_a_node_fresh() -> None:
    node = freshness()
    node.heard(head(5, NOW), now=NOW)
    hour_back = NOW - 3600 * SECOND
    assert node.is_stale(hour_back), "else it would be fresh for an hour, whether or not heads still came"
    node.heard(head(5, hour_back), now=hour_back)
    assert not node.is_stale(hour_back + 10 * SECOND)
    assert node.is_stale(hour_back + 10 * SECOND + 1)


def test_facts_of_another_ledger_than_the_heads_undo_what_those_proved() -> None:
    node = freshness(store="", position=0)
    node.heard(head(0, store="b" * 32), now=NOW)
    assert not node.is_stale(NOW)
    node.applied(STORE, 1)
    assert node.is_stale(NOW)
    node.heard(head(1), now=NOW)
    assert not node.is_stale(NOW)


def test_heads_heard_before_the_first_fact_count_for_an_empty_index() -> None:
    node = freshness(store="", position=0)
    node.heard(head(2), now=NOW)
    node.applied(STORE, 2)
    assert not node.is_stale(NOW)


def test_a_node_that_is_not_registered_may_not_answer_whatever_it_was_told() -> None:
    node = freshness(on_stale="allow")
    node.admitted = False
    node.heard(head(5), now=NOW)
    assert not node.may_answer(NOW)
    node.admitted = True
    assert node.may_answer(NOW + 60 * SECOND)


async def test_who_waits_for_a_position_is_woken_by_its_commit() -> None:
    node = freshness(position=5)
    waiting = asyncio.create_task(node.wait_for(7, asked_at=NOW, timeout_seconds=60))
    await asyncio.sleep(0)
    node.applied(STORE, 6)
    await asyncio.sleep(0)
    assert not waiting.done()
    node.applied(STORE, 7)
    assert await asyncio.wait_for(waiting, 60) == "applied"
    assert await node.wait_for(3, asked_at=NOW) == "applied"


async def test_waiting_ends_with_the_timeout() -> None:
    assert await freshness().wait_for(6, asked_at=NOW, timeout_seconds=0.01) == "behind"


async def test_more_waiters_than_allowed_do_not_wait() -> None:
    node = freshness(max_waiters=1)
    first = asyncio.create_task(node.wait_for(6, asked_at=NOW, timeout_seconds=60))
    await asyncio.sleep(0)
    assert await node.wait_for(6, asked_at=NOW, timeout_seconds=60) == "behind"
    node.applied(STORE, 6)
    assert await first == "applied"


async def test_who_must_wait_waits_however_many_do() -> None:
    """An answered change is in force in its process: also the thousand-and-first of a moment."""
    node = freshness(max_waiters=1)
    waiting = [asyncio.create_task(node.wait_for(6, asked_at=NOW, timeout_seconds=60, always=True)) for _ in range(3)]
    await asyncio.sleep(0)
    assert await node.wait_for(6, asked_at=NOW, timeout_seconds=60) == "behind"
    node.applied(STORE, 6)
    assert await asyncio.gather(*waiting) == ["applied"] * 3


@pytest.mark.parametrize(
    ("told", "answer"),
    [
        (head(5, NOW + SECOND + 1), "beyond"),
        (head(5, NOW + SECOND), "behind"),  # perhaps older than the request, by a clock that is ahead
        (head(6, NOW + SECOND + 1), "behind"),
    ],
)
async def test_a_position_beyond_a_head_younger_than_the_request_was_never_given_out(told: Head, answer: str) -> None:
    node = freshness(position=5)
    node.heard(told, now=told.at)
    assert await node.wait_for(6, asked_at=NOW, timeout_seconds=0.01) == answer
