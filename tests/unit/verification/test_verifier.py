from datetime import timedelta

from keyledger.domain.events import KeyRevoked, KeyRotationFinished, SecretEnd
from keyledger.domain.permissions import Role
from keyledger.verification.peppers import Peppers
from keyledger.verification.token import mint
from keyledger.verification.verdict import NO_AUTHORITY
from tests.unit.verification.world import T0, World, us

OTHER_SECRET = b"another secret, 20 b"
VIEWER = Role("viewer", "Viewer", frozenset({"*:read"}), frozenset())


async def test_a_right_secret_is_good_and_names_its_key(world: World) -> None:
    org = world.facts.organization()
    user = world.facts.user(org)
    key_id, token = world.facts.key(org, user, name="deploy", expires_at=T0 + timedelta(days=1))
    await world.fold()
    verdict = world.verifier().verify(token, world.ask("agents:create"))
    assert verdict.valid
    assert (verdict.key_id, verdict.name, verdict.type) == (key_id, "deploy", "personal")
    assert (verdict.organization_id, verdict.owner_type, verdict.owner_id) == (org, "user", user)
    assert (verdict.environment, verdict.expires_at) == ("dev", us(T0 + timedelta(days=1)))
    assert verdict.position == len(world.facts.entries)
    assert verdict.fresh_as_of == us(T0)
    assert verdict.secret_id is not None
    assert not verdict.stale


async def test_no_token_is_a_missing_credential_and_garbage_is_an_invalid_one(world: World) -> None:
    await world.fold()
    verifier = world.verifier()
    assert verifier.verify(None, world.ask()).code == "missing-credential"
    for text in ("", "x", "kl_dev_", "\x00", "é" * 100, "\ud800", "kl_dev_" + "0" * 22 + "_" + "0" * 33):
        assert verifier.verify(text, world.ask()).code == "invalid-credential", text


async def test_whoever_has_no_right_secret_learns_nothing(world: World) -> None:
    mine, foreign = world.facts.organization(1), world.facts.organization(2)
    key_id, _ = world.facts.key(mine, world.facts.user(mine, 1), 1)
    _, foreign_token = world.facts.key(foreign, world.facts.user(foreign, 2), 2)
    await world.fold()
    verifier = world.verifier(organizations=(mine,))
    wrong, unknown, others = (
        verifier.verify(token, world.ask())
        for token in (
            mint("dev", key_id, OTHER_SECRET),
            mint("dev", "key_" + "1" * 22, OTHER_SECRET),
            foreign_token,
        )
    )
    for verdict in (wrong, unknown, others):
        assert verdict.code == "invalid-credential"
        told = {name: getattr(verdict, name) for name in verdict.__struct_fields__ if name != "claimed"}
        assert told == {name: getattr(unknown, name) for name in told}
        assert verdict.authority == NO_AUTHORITY
        assert not verdict.authority.allows("agents:read")
    assert (wrong.claimed.key_id, wrong.claimed.organization_id, wrong.claimed.fingerprint) == (key_id, mine, None)
    for verdict in (unknown, others):
        assert (verdict.claimed.key_id, verdict.claimed.organization_id) == (None, mine)
        assert verdict.claimed.fingerprint is not None


async def test_a_fingerprint_is_the_same_for_the_same_text_and_contains_nothing_of_it(world: World) -> None:
    await world.fold()
    token = mint("dev", "key_" + "1" * 22, OTHER_SECRET)
    first, again, other = (
        world.verifier().verify(text, world.ask()).claimed.fingerprint for text in (token, token, token + "x")
    )
    assert first == again != other
    assert first is not None
    assert not any(token[start : start + 6] in first for start in range(len(token) - 6))


async def test_a_token_is_good_in_its_own_environment_only(world: World) -> None:
    org = world.facts.organization()
    key_id, token = world.facts.key(org, world.facts.user(org), environment="prod")
    await world.fold()
    moved = mint("dev", key_id, (1).to_bytes(20))
    assert moved != token
    assert world.verifier().verify(token, world.ask()).valid
    assert world.verifier().verify(moved, world.ask()).code == "invalid-credential"
    assert world.verifier(environments=("dev", "staging")).verify(token, world.ask()).code == "invalid-credential"


async def test_a_revoked_key_is_told_to_its_holder_alone_and_for_ever(world: World) -> None:
    org = world.facts.organization()
    key_id, token = world.facts.key(org, world.facts.user(org), expires_at=T0 + timedelta(hours=1))
    world.facts.append(key_id, KeyRevoked(organization_id=org, key_id=key_id))
    await world.fold()
    assert world.verifier().verify(token, world.ask()).code == "revoked"
    world.clock.time = us(T0 + timedelta(days=1000))
    world.beat()
    assert world.verifier().verify(token, world.ask("no:way")).code == "revoked"
    assert world.verifier().verify(mint("dev", key_id, OTHER_SECRET), world.ask()).code == "invalid-credential"


async def test_a_key_expires_by_the_clock_at_the_very_microsecond(world: World) -> None:
    org = world.facts.organization()
    _, token = world.facts.key(org, world.facts.user(org), expires_at=T0 + timedelta(seconds=5))
    await world.fold()
    last_good = timedelta(seconds=5, microseconds=-1)
    assert world.verifier().verify(token, world.ask(after=last_good)).valid
    assert world.verifier().verify(token, world.ask(after=timedelta(seconds=5))).code == "expired"


async def test_a_superseded_secret_is_as_good_as_a_wrong_one(world: World) -> None:
    org = world.facts.organization()
    key_id, old = world.facts.key(org, world.facts.user(org))
    _, new = world.facts.rotate(org, key_id, ended=[SecretEnd(id=f"{1:016x}")])
    await world.fold()
    assert world.verifier().verify(old, world.ask()).code == "invalid-credential"
    assert world.verifier().verify(new, world.ask()).valid


async def test_with_a_grace_both_secrets_work_until_it_ends(world: World) -> None:
    org = world.facts.organization()
    key_id, old = world.facts.key(org, world.facts.user(org))
    end = SecretEnd(id=f"{1:016x}", ends_at=T0 + timedelta(seconds=5))
    second, new = world.facts.rotate(org, key_id, ended=[end])
    await world.fold()
    verifier = world.verifier()
    inside, outside = world.ask(after=timedelta(seconds=4)), world.ask(after=timedelta(seconds=5))
    assert verifier.verify(old, inside).secret_id == f"{1:016x}"
    assert verifier.verify(new, inside).secret_id == second
    assert verifier.verify(old, outside).code == "invalid-credential"
    assert verifier.verify(new, outside).valid


async def test_a_grace_that_was_ended_early_is_over(world: World) -> None:
    org = world.facts.organization()
    key_id, old = world.facts.key(org, world.facts.user(org))
    first = f"{1:016x}"
    _, new = world.facts.rotate(org, key_id, ended=[SecretEnd(id=first, ends_at=T0 + timedelta(hours=1))])
    await world.fold()
    assert world.verifier().verify(old, world.ask()).valid
    world.facts.append(key_id, KeyRotationFinished(organization_id=org, key_id=key_id, ended=(first,)))
    await world.fold()
    assert world.verifier().verify(old, world.ask()).code == "invalid-credential"
    assert world.verifier().verify(new, world.ask()).valid


async def test_any_number_of_secrets_may_live(world: World) -> None:
    org = world.facts.organization()
    key_id, first = world.facts.key(org, world.facts.user(org))
    tokens = [first, *(world.facts.rotate(org, key_id, ended=[])[1] for _ in range(4))]
    await world.fold()
    assert all(world.verifier().verify(token, world.ask()).valid for token in tokens)


async def test_a_secret_whose_master_is_not_live_here_does_not_match(world: World) -> None:
    org = world.facts.organization()
    _, token = world.facts.key(org, world.facts.user(org))
    await world.fold()
    verifier = world.verifier(peppers=Peppers([b"another master of the tests 32 b"]))
    assert verifier.verify(token, world.ask()).code == "invalid-credential"


async def test_a_personal_key_without_a_role_has_its_owners_at_the_moment_of_use(world: World) -> None:
    org = world.facts.organization()
    _, token = world.facts.key(org, world.facts.user(org, roles=("viewer",)))
    await world.fold()
    verifier = world.verifier()
    assert verifier.verify(token, world.ask("agents:read")).role == ("viewer",)
    assert verifier.verify(token, world.ask("agents:create")).code == "insufficient-permission"
    world.facts.role(org, "viewer", permissions=["*:read", "agents:create"])
    await world.fold()
    assert verifier.verify(token, world.ask("agents:create")).valid


async def test_a_personal_key_never_exceeds_its_owner(world: World) -> None:
    org = world.facts.organization()
    _, token = world.facts.key(org, world.facts.user(org, roles=("viewer",)), role="administrator")
    await world.fold()
    verdict = world.verifier().verify(token, world.ask())
    assert verdict.role == ("administrator",)
    assert verdict.permissions == ("*:read",)
    assert not verdict.authority.allows("agents:create")
    assert not verdict.authority.may_grant(VIEWER)


async def test_a_teams_key_has_its_own_role_alone(world: World) -> None:
    org = world.facts.organization()
    _, team = world.facts.key(org, world.facts.team(org), 1, role="viewer")
    _, service = world.facts.key(org, world.facts.service_account(org), 2, role="api_manager")
    await world.fold()
    verifier = world.verifier()
    assert verifier.verify(team, world.ask("agents:read")).valid
    assert verifier.verify(team, world.ask("agents:update")).code == "insufficient-permission"
    assert verifier.verify(service, world.ask("api-keys:rotate")).authority.may_grant(VIEWER)


async def test_a_role_that_is_not_there_allows_nothing(world: World) -> None:
    org = world.facts.organization()
    _, token = world.facts.key(org, world.facts.team(org), role="ghost")
    await world.fold()
    assert world.verifier().verify(token, world.ask("agents:read")).code == "insufficient-permission"
    assert world.verifier().verify(token, world.ask()).permissions == ()


async def test_a_role_of_the_same_name_elsewhere_lends_nothing(world: World) -> None:
    mine, other = world.facts.organization(1), world.facts.organization(2)
    world.facts.role(mine, "special", permissions=["agents:read"])
    world.facts.role(other, "special", permissions=["*:*"])
    _, token = world.facts.key(mine, world.facts.team(mine), role="special")
    await world.fold()
    assert world.verifier().verify(token, world.ask("agents:delete")).code == "insufficient-permission"


async def test_a_key_whose_owner_is_of_another_organization_is_dead(world: World) -> None:
    mine, other = world.facts.organization(1), world.facts.organization(2)
    _, token = world.facts.key(mine, world.facts.user(other, roles=("administrator",)))
    await world.fold()
    assert world.verifier().verify(token, world.ask()).code == "invalid-credential"


async def test_a_key_without_owner_or_organization_is_dead(world: World) -> None:
    org = world.facts.organization(1)
    _, no_owner = world.facts.key(org, "user_" + "5" * 22, 1)
    nowhere = "org_" + "9" * 22
    _, no_organization = world.facts.key(nowhere, world.facts.user(nowhere), 2)
    await world.fold()
    assert world.verifier().verify(no_owner, world.ask()).code == "invalid-credential"
    assert world.verifier().verify(no_organization, world.ask()).code == "invalid-credential"


async def test_a_change_is_seen_by_the_next_check_although_joins_are_remembered(world: World) -> None:
    org = world.facts.organization()
    user = world.facts.user(org, roles=("viewer",))
    key_id, token = world.facts.key(org, user, role="developer")
    await world.fold()
    verifier = world.verifier()
    assert verifier.verify(token, world.ask()).permissions == ("*:read",)
    world.facts.update(org, key_id, role="viewer", name="renamed")
    world.facts.role(org, "viewer", permissions=["agents:read"])
    await world.fold()
    verdict = verifier.verify(token, world.ask())
    assert (verdict.name, verdict.role, verdict.permissions) == ("renamed", ("viewer",), ("agents:read",))
    assert verdict.position == len(world.facts.entries)


async def test_a_stale_verifier_answers_for_nothing_and_for_everything_again_when_fresh(world: World) -> None:
    org = world.facts.organization()
    _, token = world.facts.key(org, world.facts.user(org))
    await world.fold()
    verifier = world.verifier()
    world.clock.time += 10_000_000
    assert verifier.verify(token, world.ask()).valid
    world.clock.time += 1
    stale = verifier.verify(token, world.ask())
    assert (stale.code, stale.key_id, stale.authority) == ("verifier-stale", None, NO_AUTHORITY)
    assert stale.fresh_as_of == us(T0)
    world.beat()
    assert verifier.verify(token, world.ask()).valid


async def test_a_verifier_told_not_to_care_answers_and_says_that_it_is_stale(world: World) -> None:
    org = world.facts.organization()
    _, token = world.facts.key(org, world.facts.user(org))
    await world.fold()
    world.freshness.on_stale = "allow"
    world.clock.time += 11_000_000
    verdict = world.verifier().verify(token, world.ask())
    assert verdict.valid
    assert verdict.stale
    world.freshness.admitted = False
    assert world.verifier().verify(token, world.ask()).code == "verifier-stale"
