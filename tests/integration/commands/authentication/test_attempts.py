"""Every management request is an attempt that is recorded, whatever comes of it."""

from pathlib import Path

from keyledger.eventstore.port import Ledger
from keyledger.verification.token import SECRET_BYTES, mint
from tests.integration.commands.world import PEER, SetClock, World, opened

PATH = "/v1/users/user_0000000000000000000000"


async def test_an_attempt_names_key_secret_source_and_request(world: World) -> None:
    made = await world.created(role="viewer", environment="prod")
    await world.send("GET", PATH, key=made["key"], headers={"Keyledger-Request-Id": "mine"})
    attempt = world.attempts[-1]
    secret_id = world.ledger.appends[-1].events[0].data
    assert attempt.secret_id is not None
    assert attempt.secret_id.encode() in secret_id
    assert (attempt.code, attempt.surface, attempt.node) == ("valid", "management", "test")
    assert (attempt.key_id, attempt.organization_id, attempt.environment) == (
        made["id"],
        world.organization_id,
        "prod",
    )
    assert (attempt.source, attempt.request_id, attempt.permission) == (PEER, "mine", "users:read")
    assert (attempt.at, attempt.fingerprint) == (world.clock.now(), None)


async def test_a_wrong_secret_is_counted_against_the_key_it_names(world: World) -> None:
    made = await world.created()
    await world.send("GET", PATH, key=mint("dev", made["id"], bytes(SECRET_BYTES)))
    attempt = world.attempts[-1]
    assert (attempt.code, attempt.key_id, attempt.secret_id) == ("invalid-credential", made["id"], None)


async def test_a_token_of_no_key_is_known_again_and_not_kept(world: World) -> None:
    tokens = [mint("dev", world.randomness.resource_id("key"), bytes(SECRET_BYTES)), "hello"]
    for token in (*tokens, *tokens):
        await world.send("GET", PATH, key=token)
    prints = [attempt.fingerprint for attempt in world.attempts[-4:]]
    assert prints[:2] == prints[2:]
    assert len(set(prints)) == 2
    assert not any(token in repr(world.attempts) for token in tokens)


async def test_each_attempt_has_an_id_of_its_own(world: World) -> None:
    for _ in range(10):
        await world.send("GET", PATH)
    assert len({attempt.id for attempt in world.attempts}) == len(world.attempts)


async def test_a_sender_cannot_choose_its_address(world: World) -> None:
    await world.send("GET", PATH, headers={"X-Forwarded-For": "198.51.100.1"})
    assert world.attempts[-1].source == PEER


async def test_behind_a_trusted_proxy_the_address_is_the_proxys_word(
    ledger: Ledger, clock: SetClock, tmp_path: Path
) -> None:
    world = await opened(ledger, clock, tmp_path / "proxied", "192.0.2.0/24")
    await world.send("GET", PATH, headers={"X-Forwarded-For": "203.0.113.9, 198.51.100.1, 192.0.2.8"})
    assert world.attempts[-1].source == "198.51.100.1"
