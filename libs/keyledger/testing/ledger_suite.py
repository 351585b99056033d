"""What every ledger guarantees. A backend's tests inherit ``LedgerSuite`` and say how theirs is opened."""
# ruff: noqa: S101, PLR2004 - it is a test suite: it asserts, on literal examples, in methods that are sentences

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest
from msgspec.structs import replace

from keyledger.contracts.envelope import FIRST_PREV_HASH, Header
from keyledger.contracts.ports import Clock
from keyledger.eventstore.admission import CLAIM_LIFETIME_US
from keyledger.eventstore.checking import MAX_DATA_BYTES
from keyledger.eventstore.port import (
    Appended,
    CheckpointMoved,
    Head,
    IdempotencyClaim,
    IdempotencyMismatch,
    Ledger,
    LedgerUnavailable,
    MalformedAppend,
    Profile,
    Replayed,
    VersionConflict,
)
from keyledger.eventstore.verifying import verify_chain
from keyledger.testing.ledger_examples import SteppedClock, a_claim, an_append, an_event, together

Opener = Callable[[Clock], Awaitable[Ledger]]

PATIENCE_SECONDS = 120.0


class LedgerFixtures:
    """How the suite gets at a ledger."""

    @pytest.fixture
    def opener(self) -> Opener:
        """Return what opens one and the same store, empty at first, however often it is called."""
        raise NotImplementedError

    @pytest.fixture
    def clock(self) -> SteppedClock:
        return SteppedClock()

    @pytest.fixture
    async def ledger(self, opener: Opener, clock: SteppedClock) -> AsyncIterator[Ledger]:
        ledger = await opener(clock)
        yield ledger
        await ledger.close()


class AppendSuite(LedgerFixtures):
    """Appending, alone."""

    async def test_an_empty_ledger_has_the_first_head(self, ledger: Ledger) -> None:
        assert await ledger.head() == Head(0, FIRST_PREV_HASH, 0)
        assert await ledger.read(0, limit=10) == []
        assert len(bytes.fromhex(ledger.store_id)) == 16

    async def test_appends_get_the_positions_1_2_3(self, ledger: Ledger) -> None:
        first = await ledger.append(an_append("a"))
        second = await ledger.append(an_append("b", events=(an_event(), an_event())))
        third = await ledger.append(an_append("a", 1))
        assert isinstance(first, Appended)
        assert isinstance(second, Appended)
        assert isinstance(third, Appended)
        assert [(done.position, done.version) for done in (first, second, third)] == [(1, 1), (3, 2), (4, 2)]
        entries = await ledger.read(0, limit=10)
        assert [(row.header.position, row.header.stream, row.header.version) for row in entries] == [
            (1, "a", 1),
            (2, "b", 1),
            (3, "b", 2),
            (4, "a", 2),
        ]

    async def test_a_conflict_says_what_was_expected_and_what_is(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a"))
        with pytest.raises(VersionConflict) as refused:
            await ledger.append(an_append("a", 7))
        assert (refused.value.stream, refused.value.expected, refused.value.actual) == ("a", 7, 1)
        assert not refused.value.guard
        assert (await ledger.head()).position == 1

    async def test_a_guard_must_hold(self, ledger: Ledger) -> None:
        await ledger.append(an_append("owner"))
        await ledger.append(an_append("key-1", guards={"owner": 1, "nobody": 0}))
        await ledger.append(an_append("owner", 1))
        with pytest.raises(VersionConflict) as refused:
            await ledger.append(an_append("key-2", guards={"owner": 1}))
        assert (refused.value.stream, refused.value.expected, refused.value.actual) == ("owner", 1, 2)
        assert refused.value.guard
        assert await ledger.load(["key-2"]) == {"key-2": []}

    async def test_every_field_and_byte_survives(self, ledger: Ledger, clock: SteppedClock) -> None:
        data = bytes(range(256)) * 3
        append = an_append(
            "org_1/role/zażółć 🔑",
            events=(an_event(data, type="Späteres", schema_version=2**63 - 1), an_event(b"")),
            actor_user="user_1",
            actor_key="key_1",
            traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        )
        await ledger.append(append)
        first, second = (await ledger.load([append.stream]))[append.stream]
        assert first.header == Header(
            1,
            "org_1",
            append.stream,
            1,
            "Späteres",
            2**63 - 1,
            False,
            clock.time,
            "user_1",
            "key_1",
            append.request_id,
            append.append_id,
            append.traceparent,
        )
        assert (first.data, second.data) == (data, b"")
        assert first.prev_hash == FIRST_PREV_HASH
        assert second.prev_hash == first.hash

    async def test_an_ignorable_event_stays_ignorable(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a", events=(replace(an_event(), may_ignore=True), an_event())))
        assert [row.header.may_ignore for row in await ledger.read(0, limit=9)] == [True, False]
        await verify_chain(ledger)

    @pytest.mark.parametrize(
        "wrong",
        [
            {"stream": "nul\0"},
            {"stream": ""},
            {"stream": "s" * 1025},
            {"append_id": ""},
            {"organization_id": "line\nbreak"},
            {"request_id": "lone \ud800 surrogate"},
            {"actor_user": "delete\x7f"},
            {"actor_key": "c1\x85"},
            {"traceparent": "\x1b[0m"},
            {"source_address": "\0"},
            {"guards": {"nul\0": 0}},
            {"guards": {"a": 2**63}},
            {"expected_version": -1},
            {"expected_version": 2**63},
            {"events": (an_event(type=""),)},
            {"events": (an_event(schema_version=2**63),)},
            {"events": (an_event(bytes(512 * 1024 + 1)),)},
            {"profile": Profile("user_1", "nul\0", None)},
            {"profile": Profile("user_1", "name", None), "events": ()},
            {"profile": Profile("user_1", "name", "\udfff")},
            {"idempotency": IdempotencyClaim(bytes(65), b"", 201)},
            {"idempotency": IdempotencyClaim(b"", b"", -1)},
        ],
        ids=lambda wrong: next(iter(wrong)),
    )
    async def test_what_cannot_be_stored_is_refused_and_not_quoted(self, ledger: Ledger, wrong: dict[str, Any]) -> None:
        with pytest.raises(MalformedAppend) as refused:
            await ledger.append(an_append(**{"stream": "a", **wrong}))
        assert len(str(refused.value)) < 100
        assert (await ledger.head()).position == 0

    async def test_without_events_conditions_are_checked_and_the_last_event_answers(self, ledger: Ledger) -> None:
        written = await ledger.append(an_append("a"))
        await ledger.append(an_append("b"))
        assert await ledger.append(an_append("a", 1, events=())) == written
        with pytest.raises(VersionConflict):
            await ledger.append(an_append("a", 0, events=()))
        with pytest.raises(VersionConflict):
            await ledger.append(an_append("a", 1, events=(), guards={"b": 2}))
        assert await ledger.append(an_append("unknown", 0, events=())) == Appended(0, 0, 0)
        assert (await ledger.head()).position == 2

    async def test_an_append_handed_in_again_is_found_and_not_repeated(self, ledger: Ledger) -> None:
        append = an_append("a", events=(an_event(), an_event()))
        first = await ledger.append(append)
        await ledger.append(an_append("a", 2))
        assert await ledger.append(append) == first
        again = an_append("b")
        assert len(set(await together(ledger, again, again))) == 1
        assert (await ledger.head()).position == 4

    async def test_time_never_goes_back(self, ledger: Ledger, clock: SteppedClock) -> None:
        await ledger.append(an_append("a"))
        clock.time -= 3_600_000_000
        await ledger.append(an_append("b"))
        clock.time += 7_200_000_000
        await ledger.append(an_append("c"))
        times = [row.header.recorded_at for row in await ledger.read(0, limit=9)]
        assert times[0] == times[1] < times[2]
        await verify_chain(ledger)


class BatchSuite(LedgerFixtures):
    """Appends that share a transaction."""

    async def test_of_two_that_race_for_a_stream_one_wins(self, ledger: Ledger) -> None:
        outcomes = await together(ledger, an_append("a"), an_append("a"))
        assert isinstance(outcomes[0], Appended)
        assert isinstance(outcomes[1], VersionConflict)
        assert (outcomes[1].expected, outcomes[1].actual) == (0, 1)

    async def test_batch_mates_see_those_before_them(self, ledger: Ledger) -> None:
        outcomes = await together(
            ledger,
            an_append("owner"),
            an_append("too-late", guards={"owner": 0}),
            an_append("key", guards={"owner": 1}),
            an_append("owner", 1),
            an_append("next", guards={"key": 1, "owner": 2, "too-late": 0}),
        )
        assert [type(outcome) for outcome in outcomes] == [Appended, VersionConflict, Appended, Appended, Appended]
        assert (outcomes[1].guard, outcomes[1].expected, outcomes[1].actual) == (True, 0, 1)
        assert len({outcome.recorded_at for outcome in outcomes if isinstance(outcome, Appended)}) == 1, "one batch"

    async def test_a_refused_or_malformed_one_fails_alone(self, ledger: Ledger) -> None:
        await ledger.append(an_append("taken"))
        outcomes = await together(
            ledger,
            an_append("a"),
            an_append("taken"),
            an_append("nul\0"),
            an_append("b"),
            an_append("c", request_id="\ud800"),
            an_append("d", guards={"taken": 5}),
            an_append("e", expected_version=2**63),
            an_append("f", events=(an_event(b"\0\xff{"),)),
        )
        kinds = [type(outcome) for outcome in outcomes]
        assert kinds == [
            Appended,
            VersionConflict,
            MalformedAppend,
            Appended,
            MalformedAppend,
            VersionConflict,
            MalformedAppend,
            Appended,
        ]
        assert [outcome.position for outcome in outcomes if isinstance(outcome, Appended)] == [2, 3, 4]
        assert (await verify_chain(ledger)).position == 4

    async def test_more_than_a_batch_holds_is_written_in_order(self, ledger: Ledger) -> None:
        outcomes = await together(ledger, *(an_append(f"stream-{number}") for number in range(1_500)))
        assert [outcome.position for outcome in outcomes] == list(range(1, 1_501))
        assert (await verify_chain(ledger)).position == 1_500

    async def test_a_caller_cancelled_before_its_turn_leaves_nothing(self, ledger: Ledger) -> None:
        cancelled = asyncio.create_task(ledger.append(an_append("cancelled")))
        other = asyncio.create_task(ledger.append(an_append("other")))
        await asyncio.sleep(0)  # both are handed in; the writer has not run yet
        cancelled.cancel()
        assert await other == Appended(1, 1, (await ledger.head()).recorded_at)
        assert await ledger.load(["cancelled"]) == {"cancelled": []}

    async def test_a_caller_cancelled_at_any_later_moment_is_written_whole_or_not(self, ledger: Ledger) -> None:
        for turns in range(12):
            append = an_append(f"stream-{turns}", events=(an_event(), an_event()))
            task = asyncio.create_task(ledger.append(append))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
        await ledger.append(an_append("after"))
        loaded = await ledger.load([f"stream-{turns}" for turns in range(12)])
        assert {len(rows) for rows in loaded.values()} <= {0, 2}
        await verify_chain(ledger)

    async def test_closing_finishes_what_was_handed_in(self, opener: Opener, clock: SteppedClock) -> None:
        ledger = await opener(clock)
        waiting = [asyncio.create_task(ledger.append(an_append(f"stream-{number}"))) for number in range(50)]
        await asyncio.sleep(0)
        await ledger.close()
        assert [
            outcome.position for outcome in await asyncio.gather(*waiting) if isinstance(outcome, Appended)
        ] == list(range(1, 51))
        await ledger.close()
        with pytest.raises(LedgerUnavailable):
            await ledger.append(an_append("late"))


class IdempotencySuite(LedgerFixtures):
    """A command is carried out once, however often it is sent."""

    async def test_a_repeated_request_is_answered_with_what_was_done(self, ledger: Ledger) -> None:
        await ledger.append(an_append("other"))
        await ledger.append(an_append("a", idempotency=a_claim()))
        replayed = Replayed(201, "a", 2, 1)
        assert await ledger.append(an_append("b", idempotency=a_claim())) == replayed
        assert await ledger.find_replay(a_claim()) == replayed
        assert (await ledger.head()).position == 2

    async def test_another_request_under_the_same_key_is_refused(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a", idempotency=a_claim()))
        with pytest.raises(IdempotencyMismatch):
            await ledger.append(an_append("b", idempotency=a_claim(request=b"another")))
        with pytest.raises(IdempotencyMismatch):
            await ledger.find_replay(a_claim(request=b"another"))
        assert await ledger.find_replay(a_claim(scope=b"elsewhere")) is None

    async def test_batch_mates_with_the_same_key(self, ledger: Ledger) -> None:
        outcomes = await together(
            ledger,
            an_append("a", idempotency=a_claim()),
            an_append("b", idempotency=a_claim()),
            an_append("c", idempotency=a_claim(request=b"another")),
            an_append("d"),
        )
        assert isinstance(outcomes[0], Appended)
        assert outcomes[1] == Replayed(201, "a", 1, 1)
        assert isinstance(outcomes[2], IdempotencyMismatch)
        assert isinstance(outcomes[3], Appended)
        assert outcomes[3].position == 2

    async def test_a_refused_append_keeps_no_claim(self, ledger: Ledger) -> None:
        with pytest.raises(VersionConflict):
            await ledger.append(an_append("a", 3, idempotency=a_claim()))
        assert await ledger.find_replay(a_claim()) is None
        assert isinstance(await ledger.append(an_append("a", idempotency=a_claim(request=b"another"))), Appended)

    async def test_a_command_that_changes_nothing_keeps_its_claim(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a"))
        await ledger.append(an_append("b"))
        unchanged = an_append("a", 1, events=(), idempotency=a_claim())
        assert isinstance(await ledger.append(unchanged), Appended)
        assert await ledger.find_replay(a_claim()) == Replayed(201, "a", 1, 1)
        assert (await ledger.head()).position == 2

    async def test_an_append_handed_in_again_is_no_replay_of_itself(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a"))
        for append in (an_append("b", idempotency=a_claim()), an_append("a", 1, events=(), idempotency=a_claim(b"2"))):
            first = await ledger.append(append)
            assert isinstance(first, Appended)
            assert await ledger.append(append) == first

    async def test_a_claim_ends_after_24_hours(self, ledger: Ledger, clock: SteppedClock) -> None:
        await ledger.append(an_append("a", idempotency=a_claim()))
        clock.time += CLAIM_LIFETIME_US - 1_000
        assert await ledger.find_replay(a_claim()) is not None
        clock.time += 1_000
        assert await ledger.find_replay(a_claim()) is None
        second = await ledger.append(an_append("b", idempotency=a_claim(request=b"another")))
        assert isinstance(second, Appended)
        assert await ledger.find_replay(a_claim(request=b"another")) == Replayed(201, "b", 2, 1)


class ReadSuite(LedgerFixtures):
    """Reading, waiting, and what is kept beside the events."""

    async def test_reading_goes_on_where_it_stopped(self, ledger: Ledger) -> None:
        await together(ledger, *(an_append(f"stream-{number}") for number in range(7)))
        pages = [await ledger.read(after, limit=3) for after in (0, 3, 6, 7)]
        assert [[row.header.position for row in page] for page in pages] == [[1, 2, 3], [4, 5, 6], [7], []]
        entries = [row for page in pages for row in page]
        assert all(follower.prev_hash == row.hash for row, follower in pairwise(entries))
        assert await ledger.head() == Head(7, entries[-1].hash, entries[-1].header.recorded_at)

    async def test_a_stream_is_loaded_in_order_and_an_unknown_one_is_empty(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a", events=(an_event(b"1"), an_event(b"2"))))
        await ledger.append(an_append("b"))
        await ledger.append(an_append("a", 2, events=(an_event(b"3"),)))
        loaded = await ledger.load(["a", "unknown", "nul\0", "\ud800", ""])
        assert [row.data for row in loaded["a"]] == [b"1", b"2", b"3"]
        assert {stream: rows for stream, rows in loaded.items() if stream != "a"} == {
            "unknown": [],
            "nul\0": [],
            "\ud800": [],
            "": [],
        }

    async def test_of_a_stream_that_is_known_its_last_row_comes_back_and_what_is_new(self, ledger: Ledger) -> None:
        await ledger.append(an_append("a", events=(an_event(b"1"), an_event(b"2"))))
        await ledger.append(an_append("b"))
        before = (await ledger.load(["a"]))["a"]
        assert await ledger.load(["a"], known={"a": 2, "b": 1}) == {"a": before[1:]}
        await ledger.append(an_append("a", 2, events=(an_event(b"3"), an_event(b"4"))))
        loaded = await ledger.load(["b", "a", "c"], known={"a": 2, "c": 7})
        assert [row.data for row in loaded["a"]] == [b"2", b"3", b"4"]
        assert (loaded["a"][0], len(loaded["b"]), loaded["c"]) == (before[1], 1, [])
        assert await ledger.load(["a"], known={"a": 5}) == {"a": []}

    async def test_streams_are_listed_by_the_bytes_of_their_names_along_a_prefix(self, ledger: Ledger) -> None:
        names = ["a/role/b", "a/role/B", "a/role/b_", "a/role/b-", "a/role/", "a/rolf", "a", "ab/role/c", "b/role/a"]
        for name in names:
            await ledger.append(an_append(name, events=(an_event(), an_event())))
        ours = ["a/role/B", "a/role/b", "a/role/b-", "a/role/b_"]
        assert await ledger.streams("a/role/", limit=10) == ours
        assert await ledger.streams("a/role/", limit=3) == ours[:3]
        assert await ledger.streams("a/role/", after="a/role/b", limit=10) == ours[2:]
        assert await ledger.streams("c/role/", limit=10) == []

    async def test_a_reader_in_another_process_is_given_every_field_and_byte_in_order(
        self, ledger: Ledger, opener: Opener, clock: SteppedClock
    ) -> None:
        every_byte = bytes(range(256))
        datas = [b"", b"\0", every_byte, b"", "zażółć 🔑".encode(), every_byte * (MAX_DATA_BYTES // 256), b"\xff\0"]
        stream = 'org_1/role/zażółć "🔑" \\'
        for number, data in enumerate(datas):
            event = an_event(data, type="Späteres", schema_version=2**63 - 1 - number)
            actor = f"user_{number}" if number % 2 else None
            await ledger.append(
                an_append(stream, number, events=(replace(event, may_ignore=number % 3 == 0),), actor_user=actor)
            )
        other = await opener(clock)
        try:
            entries = await other.read(0, limit=100)
            assert [row.data for row in entries] == datas
            assert entries == (await ledger.load([stream]))[stream]
            assert await other.read(2, limit=2) == entries[2:4]
            assert await other.read(0, limit=1) == entries[:1]
            assert await other.read(len(datas), limit=100) == []
            await verify_chain(other)
        finally:
            await other.close()

    async def test_a_ledger_opened_again_goes_on(self, ledger: Ledger, opener: Opener, clock: SteppedClock) -> None:
        await ledger.append(an_append("a", idempotency=a_claim(), source_address="192.0.2.1"))
        await ledger.move_checkpoint("relay", expected=0, new=1)
        await ledger.close()
        again = await opener(clock)
        assert again.store_id == ledger.store_id
        assert await again.checkpoint("relay") == 1
        assert await again.addresses([1]) == {1: "192.0.2.1"}
        assert isinstance(await again.append(an_append("b", idempotency=a_claim())), Replayed)
        await again.append(an_append("a", 1))
        assert (await verify_chain(again)).position == 2
        await again.close()

    async def test_a_waiter_is_woken_by_an_append(self, ledger: Ledger) -> None:
        waiting = asyncio.create_task(ledger.wait_beyond(1, timeout_seconds=3_600))
        await ledger.append(an_append("a"))
        await ledger.append(an_append("b"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await waiting
        await ledger.wait_beyond(1, timeout_seconds=3_600)

    async def test_a_waiter_is_woken_by_another_process(self, ledger: Ledger, opener: Opener) -> None:
        other = await opener(SteppedClock())
        waiting = asyncio.create_task(ledger.wait_beyond(0, timeout_seconds=3_600))
        await asyncio.sleep(0)
        await other.append(an_append("a"))
        async with asyncio.timeout(PATIENCE_SECONDS):
            await waiting
        await other.close()

    async def test_a_waiter_gives_up_after_its_time(self, ledger: Ledger) -> None:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await ledger.wait_beyond(0, timeout_seconds=0.01)

    async def test_a_checkpoint_moves_only_from_where_it_is(self, ledger: Ledger) -> None:
        assert await ledger.checkpoint("relay") == 0
        with pytest.raises(CheckpointMoved):
            await ledger.move_checkpoint("relay", expected=3, new=4)
        await ledger.move_checkpoint("relay", expected=0, new=5)
        with pytest.raises(CheckpointMoved):
            await ledger.move_checkpoint("relay", expected=0, new=7)
        await ledger.move_checkpoint("relay", expected=5, new=9)
        assert (await ledger.checkpoint("relay"), await ledger.checkpoint("other")) == (9, 0)

    async def test_a_person_can_be_forgotten_and_the_chain_stays_valid(self, ledger: Ledger) -> None:
        ada, ben = Profile("user_1", "Ada Ⅻ", "ada@example.com"), Profile("user_2", "Ben", None)
        await ledger.append(an_append("user_1", profile=ada, actor_user="user_1", source_address="2001:db8::1"))
        await ledger.append(an_append("user_2", profile=ben, actor_user="user_2", source_address="192.0.2.2"))
        assert await ledger.profiles(["user_1", "user_2", "user_3", "\0"]) == {"user_1": ada, "user_2": ben}
        assert await ledger.addresses([1, 2, 3]) == {1: "2001:db8::1", 2: "192.0.2.2"}
        await ledger.erase("user_1")
        assert await ledger.profiles(["user_1", "user_2"]) == {"user_2": ben}
        assert await ledger.addresses([1, 2]) == {2: "192.0.2.2"}
        assert (await verify_chain(ledger)).position == 2

    async def test_a_profile_is_replaced_by_a_newer_one(self, ledger: Ledger) -> None:
        first, second = Profile("user_1", "Ada", None), Profile("user_1", "Ada L.", "ada@example.com")
        await together(ledger, an_append("user_1", profile=first), an_append("user_1", 1, profile=second))
        assert await ledger.profiles(["user_1"]) == {"user_1": second}
        await ledger.append(an_append("user_1", 2, profile=first))
        assert await ledger.profiles(["user_1"]) == {"user_1": first}


class LedgerSuite(AppendSuite, BatchSuite, IdempotencySuite, ReadSuite):
    """All of it."""
