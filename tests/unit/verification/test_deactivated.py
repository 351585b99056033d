"""A deactivated user's personal keys, at the verifier: refused by one event, for ever."""

from keyledger.domain.events import KeyRevoked
from tests.unit.verification.world import World


async def test_one_event_refuses_all_personal_keys_of_a_user_and_nobody_elses(world: World) -> None:
    org = world.facts.organization()
    ada, bob, team = world.facts.user(org), world.facts.user(org, 2), world.facts.team(org)
    tokens = [world.facts.key(org, owner, number)[1] for number, owner in enumerate([ada, ada, bob, team])]
    world.facts.deactivate(org, ada)
    await world.fold()
    codes = [world.verifier().verify(token, world.ask()).code for token in tokens]
    assert codes == ["owner-deactivated", "owner-deactivated", "valid", "valid"]


async def test_reactivation_brings_no_earlier_key_back_and_later_ones_are_good(world: World) -> None:
    org = world.facts.organization()
    user = world.facts.user(org)
    _, before = world.facts.key(org, user, 1)
    world.facts.deactivate(org, user)
    world.facts.reactivate(org, user)
    _, after = world.facts.key(org, user, 2)
    await world.fold()
    verifier = world.verifier()
    assert verifier.verify(before, world.ask()).code == "owner-deactivated"
    assert verifier.verify(after, world.ask()).code == "valid"
    world.facts.deactivate(org, user)
    await world.fold()
    assert verifier.verify(after, world.ask()).code == "owner-deactivated"


async def test_a_key_that_a_broken_writer_made_for_a_deactivated_user_is_refused_while_they_are(world: World) -> None:
    org = world.facts.organization()
    user = world.facts.user(org)
    world.facts.deactivate(org, user)
    _, token = world.facts.key(org, user)
    await world.fold()
    assert world.verifier().verify(token, world.ask()).code == "owner-deactivated"


async def test_a_new_secret_does_not_wake_a_dead_key(world: World) -> None:
    org = world.facts.organization()
    user = world.facts.user(org)
    key_id, _ = world.facts.key(org, user)
    world.facts.deactivate(org, user)
    world.facts.reactivate(org, user)
    _, token = world.facts.rotate(org, key_id, ended=[])
    await world.fold()
    assert world.verifier().verify(token, world.ask()).code == "owner-deactivated"


async def test_whoever_guesses_learns_nothing_of_a_deactivation(world: World) -> None:
    org = world.facts.organization()
    user = world.facts.user(org)
    _, token = world.facts.key(org, user)
    other = world.facts.key(org, user, 2)[1]
    world.facts.deactivate(org, user)
    await world.fold()
    guess = token[:-33] + other[-33:]
    assert world.verifier().verify(guess, world.ask()).code == "invalid-credential"


async def test_a_key_that_was_revoked_before_stays_revoked(world: World) -> None:
    org = world.facts.organization()
    user = world.facts.user(org)
    key_id, token = world.facts.key(org, user)
    world.facts.append(key_id, KeyRevoked(organization_id=org, key_id=key_id))
    world.facts.deactivate(org, user)
    await world.fold()
    assert world.verifier().verify(token, world.ask()).code == "revoked"
