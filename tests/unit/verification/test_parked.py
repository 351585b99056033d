"""A key is denied while an event that it depends on cannot be folded."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from keyledger.contracts.alert import decode_alert
from keyledger.contracts.envelope import seal
from keyledger.contracts.topics import ALERTS
from keyledger.domain.events import KeyRevoked
from keyledger.domain.identifiers import resource_id, role_stream
from keyledger.testing.read_model_suite import parked
from keyledger.verification.token import mint
from tests.unit.verification.nodes import Place, running, until
from tests.unit.verification.world import Facts, World

ORGANIZATION = resource_id("org", 1)
STREAMS = {
    "key": resource_id("key", 1),
    "owner": resource_id("user", 1),
    "role": role_stream(ORGANIZATION, "developer"),
    "organization": ORGANIZATION,
}


def populated(facts: Facts) -> tuple[str, str]:
    """Return the tokens of two keys of two organizations."""
    tokens = []
    for number in (1, 2):
        org = facts.organization(number)
        tokens.append(facts.key(org, facts.user(org, number), number)[1])
    return tokens[0], tokens[1]


def plant(facts: Facts, stream: str) -> None:
    """Write an event of a type that this version does not know, and that may not be ignored."""
    entry = facts.append(stream, KeyRevoked(organization_id=ORGANIZATION, key_id=STREAMS["key"]))
    facts.entries[-1] = seal(replace(entry.header, type="KeyPainted"), entry.data, entry.prev_hash)


@pytest.mark.parametrize("what", STREAMS)
async def test_what_is_parked_denies_the_keys_that_need_it_and_no_others(tmp_path: Path, what: str) -> None:
    place = Place(tmp_path)
    token, other = populated(place.facts)
    async with running(place) as task:
        await place.publish()
        await place.beat()
        await until(lambda: place.node.started)
        assert (await place.ask(token)).status == 200
        plant(place.facts, STREAMS[what])
        await place.publish()
        await place.beat()
        await until(lambda: place.node.freshness.position == len(place.facts.entries))
        denied, unknown = await place.ask(token), await place.ask(mint("dev", resource_id("key", 9), bytes(20)))
        assert (await place.ask(other)).status == 200
        await until(lambda: bool(place.log.held(ALERTS.name, 0)))
        assert not task.done(), "one poisoned event ends nobody"
    assert (denied.status, denied.json["code"]) == (401, "invalid-credential")
    assert {**denied.json, "request_id": ""} == {**unknown.json, "request_id": ""}
    (alert,) = (decode_alert(record.value or b"") for record in place.log.held(ALERTS.name, 0))
    assert (alert.subject, alert.severity) == (STREAMS[what], "high")


async def test_a_revocation_that_waits_behind_a_poisoned_event_lets_nobody_in(tmp_path: Path) -> None:
    place = Place(tmp_path)
    token, _ = populated(place.facts)
    plant(place.facts, STREAMS["key"])
    place.facts.append(STREAMS["key"], KeyRevoked(organization_id=ORGANIZATION, key_id=STREAMS["key"]))
    async with running(place):
        await place.publish()
        await place.beat()
        await until(lambda: place.node.started)
        assert (await place.ask(token)).json["code"] == "invalid-credential"
    (mark,) = place.node.runner.parked
    assert (mark.stream, mark.waiting) == (STREAMS["key"], 2)


@pytest.mark.parametrize("what", STREAMS)
async def test_what_is_released_is_good_again(world: World, what: str) -> None:
    token, other = populated(world.facts)
    await world.fold()
    at, verifier = await world.index.checkpoint(), world.verifier()
    async with world.index.transaction() as rows:
        await rows.move_checkpoint(expected=at, new=at)
        await rows.park([parked(STREAMS[what])])
    assert [verifier.verify(one, world.ask()).valid for one in (token, other)] == [False, True]
    async with world.index.transaction() as rows:
        await rows.move_checkpoint(expected=at, new=at)
        await rows.release([STREAMS[what]])
    assert [verifier.verify(one, world.ask()).valid for one in (token, other)] == [True, True]


async def test_a_key_that_was_parked_at_its_birth_is_like_one_that_was_never_made(world: World) -> None:
    world.facts.organization()
    await world.fold()
    at = await world.index.checkpoint()
    token = mint("dev", STREAMS["key"], bytes(20))
    verifier = world.verifier()
    before = verifier.verify(token, world.ask())
    async with world.index.transaction() as rows:
        await rows.move_checkpoint(expected=at, new=at)
        await rows.park([parked(STREAMS["key"], version=1)])
    assert verifier.verify(token, world.ask()) == before


@pytest.mark.parametrize("left", [b"", b"[1]", b'["key_', b'["\xff"]'], ids=["nothing", "no names", "half", "no text"])
async def test_a_request_for_another_try_that_cannot_be_read_ends_no_node_and_hides_no_other(
    tmp_path: Path, left: bytes
) -> None:
    place = Place(tmp_path)
    populated(place.facts)
    plant(place.facts, STREAMS["key"])
    async with running(place) as task:
        await place.publish()
        await until(lambda: bool(place.node.runner.parked) or task.done())
        (tmp_path / "generation-1" / "retry-0").write_bytes(left)  # as a power cut or an operator leaves it
        (tmp_path / "generation-1" / "retry-1").mkdir()
        tries = next(iter(place.node.runner.parked)).tries
        await place.index.request_retry([STREAMS["key"]])
        await until(lambda: any(mark.tries > tries for mark in place.node.runner.parked) or task.done())
        assert not task.done()
        assert not (tmp_path / "generation-1" / "retry-0").exists()
