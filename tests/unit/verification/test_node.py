import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from keyledger.contracts.topics import HEADS, LEDGER, TOPICS, VERIFIERS
from keyledger.domain.events import KeyRevoked
from keyledger.eventlog.port import LogUnavailable, NewRecord
from keyledger.projections.order import ForeignHistory
from keyledger.runtime.clock import SystemClock
from keyledger.testing.memory_log import MemoryLog
from keyledger.verification.verdict import Ask
from tests.unit.verification.nodes import NODE, Place, running, until
from tests.unit.verification.world import Facts


def populated(place: Place) -> tuple[str, str]:
    org = place.facts.organization()
    return place.facts.key(org, place.facts.user(org))


class Unregistering(MemoryLog):
    """A log that takes everything but registrations, until it is told to."""

    registers = False

    async def append(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        if topic == VERIFIERS.name and not self.registers:
            raise LogUnavailable("no registration")
        return await super().append(topic, partition, records)


async def test_a_node_answers_only_after_its_registration_was_acknowledged(tmp_path: Path) -> None:
    log = Unregistering()
    place = Place(tmp_path, log=log, on_stale="allow")
    _, token = populated(place)
    async with running(place):
        await place.publish()
        await place.beat()
        await until(lambda: place.node.freshness.fresh_as_of is not None)
        assert not place.node.started
        assert place.node.verify(token, Ask(place.clock.now())).code == "verifier-stale"
        assert (await place.ask(token)).json["code"] == "not-ready"
        at_least = [(b"keyledger-at-least", b"position-1")]
        assert (await place.ask(token, headers=at_least)).json["code"] == "not-ready"
        log.registers = True
        await until(lambda: place.node.started)
        assert (await place.ask(token)).status == 200
        assert place.reports()[0].position == len(place.facts.entries)


async def test_a_node_is_ready_once_it_has_consumed_the_head_found_at_its_start(tmp_path: Path) -> None:
    place = Place(tmp_path)
    await place.log.ensure_topics(TOPICS)
    populated(place)
    await place.beat(position=0)
    await place.beat()
    async with running(place):
        await until(lambda: place.node.freshness.admitted)
        assert not place.node.started
        unready = place.node.unready()
        assert unready is not None
        assert "position 0" in unready
        await place.publish()
        await until(lambda: place.node.started)


async def test_a_revocation_is_refused_once_it_is_applied(tmp_path: Path) -> None:
    place = Place(tmp_path)
    key_id, token = populated(place)
    async with running(place):
        await place.publish()
        await place.beat()
        await until(lambda: place.node.started)
        assert place.node.verify(token, Ask(place.clock.now())).valid
        place.facts.append(key_id, KeyRevoked(organization_id="org", key_id=key_id))
        await place.publish()
        waited = await place.node.freshness.wait_for(len(place.facts.entries), asked_at=place.clock.now())
        assert waited == "applied"
        assert place.node.verify(token, Ask(place.clock.now())).code == "revoked"


async def test_a_node_reports_what_it_has_applied_and_how_fresh_it_is(tmp_path: Path) -> None:
    place = Place(tmp_path, organizations=("org_1",), max_staleness_seconds=7)
    populated(place)
    async with running(place):
        await until(lambda: len(place.reports()) == 1)
        await place.publish()
        await place.beat()
        await until(lambda: place.reports()[-1].fresh_as_of is not None)
        first, last = place.reports()[0], place.reports()[-1]
    assert (first.node, first.boot) == (NODE, place.node.boot)
    assert first.position == 0
    assert first.fresh_as_of is None
    assert (last.position, last.organizations, last.on_stale) == (len(place.facts.entries), ("org_1",), "refuse")
    ids = [dict(record.headers)["ce_id"].decode() for record in place.log.held(VERIFIERS.name, 0)]
    assert ids == [f"{NODE}.{place.node.boot}.{number}" for number in range(1, len(ids) + 1)]


class Advanced(SystemClock):
    """Ahead of the machine's time by as much as it is told."""

    microseconds = 0

    def now(self) -> int:
        return super().now() + self.microseconds


async def test_without_heads_a_node_becomes_stale_and_with_one_it_is_fresh_again(tmp_path: Path) -> None:
    clock = Advanced()
    place = Place(tmp_path, clock=clock, max_staleness_seconds=600)
    _, token = populated(place)
    async with running(place):
        await place.publish()
        await place.beat()
        await until(lambda: place.node.started)
        assert place.node.unready() is None
        clock.microseconds += 601_000_000
        assert "fresh" in (place.node.unready() or "")
        stale = await place.ask(token)
        assert (stale.status, stale.json["code"], stale.headers["retry-after"]) == (503, "verifier-stale", "1")
        await place.beat()
        await until(lambda: place.node.unready() is None)
        assert (await place.ask(token)).status == 200
        assert [one.code for one in await place.told(2)] == ["verifier-stale", "valid"]


async def test_a_restarted_node_goes_on_where_it_was_and_answers_only_once_proven_fresh(tmp_path: Path) -> None:
    first = Place(tmp_path)
    _, token = populated(first)
    async with running(first):
        await first.publish()
        await first.beat()
        await until(lambda: first.node.started)
    second = Place(tmp_path, log=first.log)
    second.facts = first.facts
    assert second.node.freshness.position == len(first.facts.entries)
    await second.beat(at=second.clock.now() - 3_600_000_000)  # the last head is an hour old
    async with running(second):
        await until(lambda: second.node.started)
        assert second.node.runner.counts.applied == 0
        assert (await second.ask(token)).json["code"] == "verifier-stale"
        await second.beat()
        await until(lambda: not second.node.freshness.is_stale(second.clock.now()))
        assert (await second.ask(token)).status == 200


@pytest.mark.parametrize("before", ["an older generation's index", "no index"])
async def test_a_node_told_not_to_care_accepts_no_revoked_key_while_its_index_is_filled(
    tmp_path: Path, before: str
) -> None:
    """An index that is filled from the first event on is no old state: it is one in which nothing was revoked yet."""
    first = Place(tmp_path / "first")
    key_id, token = populated(first)
    first.facts.append(key_id, KeyRevoked(organization_id=first.facts.entries[0].header.stream, key_id=key_id))
    async with running(first):
        await first.publish()
        await first.beat()
        await until(lambda: first.node.started)
        assert (await first.ask(token)).json["code"] == "revoked"
    folder = tmp_path / ("first" if before != "no index" else "second")
    second = Place(folder, generation=2, on_stale="allow")
    records = first.facts.records(0)
    async with running(second):
        await second.log.append(LEDGER.name, 0, records[:-1])
        await second.beat(position=len(records))
        await until(lambda: second.node.freshness.admitted and second.index.applied().position == len(records) - 1)
        assert (await second.ask(token)).json["code"] != "valid"
        await second.log.append(LEDGER.name, 0, records[-1:])
        await until(lambda: second.index.applied().position == len(records))
        assert (await second.ask(token)).json["code"] == "revoked"


async def test_told_not_to_care_a_node_that_was_killed_while_its_index_was_filled_answers_no_sooner(
    tmp_path: Path,
) -> None:
    """What a process that fills an index must not answer from, the next one must not either."""
    origin = Place(tmp_path / "origin")
    key_id, token = populated(origin)
    origin.facts.append(key_id, KeyRevoked(organization_id=origin.facts.entries[0].header.stream, key_id=key_id))
    origin.index.close()
    log, records = MemoryLog(), origin.facts.records(0)
    await log.ensure_topics(TOPICS)
    await log.append(LEDGER.name, 0, records[:-1])
    for _ in range(2):
        place = Place(tmp_path / "node", log=log, on_stale="allow")
        async with running(place):
            await place.beat(position=len(records))
            await until(lambda: place.node.freshness.admitted and place.index.applied().position == len(records) - 1)  # noqa: B023 - called here
            assert (await place.ask(token)).json["code"] != "valid"
    place = Place(tmp_path / "node", log=log, on_stale="allow")
    await log.append(LEDGER.name, 0, records[-1:])
    async with running(place):
        await until(lambda: place.index.applied().position == len(records))
        await until(lambda: place.node.started)
        assert (await place.ask(token)).json["code"] == "revoked"
    again = Place(tmp_path / "node", on_stale="allow")
    async with running(again):
        await until(lambda: again.node.freshness.admitted)
        assert (await again.ask(token)).json["code"] == "revoked", "it was whole: now it may be old"


async def test_a_node_that_has_ended_answers_for_nothing_any_more(tmp_path: Path) -> None:
    place = Place(tmp_path, on_stale="allow")
    _, token = populated(place)
    async with running(place) as task:
        await place.publish()
        await place.beat()
        await until(lambda: place.node.started)
        task.cancel()
        await asyncio.wait([task])
        assert place.node.verify(token, Ask(place.clock.now())).code == "verifier-stale", "nobody tells it of changes"


async def test_attempts_of_the_last_moment_are_sent_before_the_node_ends(tmp_path: Path) -> None:
    place = Place(tmp_path)
    async with running(place):
        await until(lambda: place.node.freshness.admitted)
        for _ in range(500):
            place.node.verify(None, Ask(place.clock.now(), source="192.0.2.1"))
    assert len(place.attempts()) == 500
    assert place.node.sink.waiting == 0


async def test_a_node_over_another_ledgers_index_refuses_to_follow(tmp_path: Path) -> None:
    first = Place(tmp_path)
    populated(first)
    async with running(first):
        await first.publish()
        await first.beat()
        await until(lambda: first.node.started)
    second = Place(tmp_path)
    second.facts = Facts(store="c" * 32)
    for number in range(1, 4):
        second.facts.organization(number)
    with pytest.raises(ForeignHistory):
        await follow_for_ever(second)


async def follow_for_ever(place: Place) -> None:
    """Raise at once what the node falls by."""
    async with running(place):
        await place.publish()
        await until(lambda: False)


@pytest.mark.parametrize(
    "nonsense", [b"nonsense", b'{"store":"\xff","position":1,"at":1}', b'{"deep":' + b"[" * 9000], ids=range(3)
)
async def test_what_is_no_head_is_ignored_with_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, nonsense: bytes
) -> None:
    place = Place(tmp_path)
    async with running(place) as task:
        await until(lambda: place.node.freshness.admitted)
        await place.log.append(HEADS.name, 0, [NewRecord(None, nonsense)])
        await place.beat(store="b" * 32, position=1)
        await place.beat()
        await until(lambda: place.node.freshness.fresh_as_of is not None or task.done())
        assert not task.done()
    assert place.node.freshness.refused_heads >= 1
    assert "no head of the ledger" in caplog.text
