"""A key's life, in sentences."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from keyledger.domain.events import (
    KeyCreated,
    KeyDisabled,
    KeyEnabled,
    KeyEvent,
    KeyRevoked,
    KeyRotated,
    KeyRotationFinished,
    KeyUpdated,
    Secret,
    SecretEnd,
)
from keyledger.domain.keys import (
    Absent,
    Active,
    CreateKey,
    DisableKey,
    EnableKey,
    FinishRotation,
    Key,
    KeyCommand,
    KeyNotFound,
    KeyRefused,
    LiveSecret,
    Revoked,
    RevokeKey,
    RotateKey,
    UpdateKey,
    decide,
    evolve,
    fold,
)
from keyledger.domain.metadata import MAX_BYTES, MAX_NAMES, Metadata
from keyledger.testing.given import Decider

NOW = datetime(2026, 11, 24, 6, tzinfo=UTC)
LATER = NOW + timedelta(days=30)
FIRST = Secret(id="s1", digest=b"1" * 32, pepper="p")
SECOND = Secret(id="s2", digest=b"2" * 32, pepper="p")
THIRD = Secret(id="s3", digest=b"3" * 32, pepper="p")

CREATE = CreateKey(
    organization_id="org_a",
    key_id="key_a",
    type="team",
    owner_id="team_a",
    name="checkout",
    description="",
    role="developer",
    environment="dev",
    expires_at=LATER,
    secret=FIRST,
    at=NOW,
)
CREATED = KeyCreated(
    organization_id="org_a",
    key_id="key_a",
    type="team",
    owner_type="team",
    owner_id="team_a",
    name="checkout",
    description="",
    role="developer",
    environment="dev",
    expires_at=LATER,
    secret=FIRST,
)
PERSONAL = replace(CREATED, type="personal", owner_type="user", owner_id="user_a", role=None)
ROTATE = RotateKey(key_id="key_a", secret=SECOND, at=NOW)
REVOKED = KeyRevoked(organization_id="org_a", key_id="key_a")

DISABLED = KeyDisabled(organization_id="org_a", key_id="key_a")
ENABLED = KeyEnabled(organization_id="org_a", key_id="key_a")
GRACEFUL = KeyRotated(
    organization_id="org_a", key_id="key_a", secret=SECOND, ended=(SecretEnd(id="s1", ends_at=LATER),)
)

keys: Decider[Key, KeyCommand, KeyEvent] = Decider(initial=Absent(), decide=decide, evolve=evolve)


def test_a_key_is_created_with_everything_that_was_asked_for() -> None:
    keys.given().when(CREATE).then(CREATED)


@pytest.mark.parametrize(("key_type", "owner_type"), [("personal", "user"), ("team", "team"), ("service", "service")])
def test_who_owns_a_key_follows_from_its_type(key_type: str, owner_type: str) -> None:
    command = replace(CREATE, type=key_type)
    keys.given().when(command).then(replace(CREATED, type=key_type, owner_type=owner_type))


def test_a_key_is_created_once() -> None:
    keys.given(CREATED).when(CREATE).then_refused(KeyRefused, field="id")


def test_a_revoked_key_cannot_be_created_again() -> None:
    keys.given(CREATED, REVOKED).when(CREATE).then_refused(KeyRefused, field="id")


def test_only_a_personal_key_may_have_its_owners_role() -> None:
    keys.given().when(replace(CREATE, role=None)).then_refused(KeyRefused, field="role")
    personal = replace(CREATE, type="personal", owner_id="user_a", role=None)
    keys.given().when(personal).then(PERSONAL)


@pytest.mark.parametrize("expiry", [NOW, NOW - timedelta(microseconds=1)])
def test_a_key_is_not_born_expired(expiry: datetime) -> None:
    keys.given().when(replace(CREATE, expires_at=expiry)).then_refused(KeyRefused, field="expires_at")


def test_a_rotation_ends_the_old_secret_at_once() -> None:
    rotated = KeyRotated(organization_id="org_a", key_id="key_a", secret=SECOND, ended=(SecretEnd(id="s1"),))
    outcome = keys.given(CREATED).when(ROTATE).then(rotated)
    assert isinstance(outcome.state, Active)
    assert outcome.state.secrets == (LiveSecret(SECOND),)


def test_a_rotation_with_a_grace_lets_the_old_secret_work_until_its_end() -> None:
    outcome = keys.given(CREATED).when(replace(ROTATE, grace_seconds=30 * 24 * 3600)).then(GRACEFUL)
    assert isinstance(outcome.state, Active)
    assert outcome.state.secrets == (LiveSecret(SECOND), LiveSecret(FIRST, LATER))
    assert outcome.state.secrets[1].works_at(LATER - timedelta(microseconds=1))
    assert not outcome.state.secrets[1].works_at(LATER)


@pytest.mark.parametrize("grace_seconds", [0, 60])
def test_a_rotation_ends_at_once_what_still_had_a_grace(grace_seconds: int) -> None:
    again = RotateKey(key_id="key_a", secret=THIRD, at=NOW, grace_seconds=grace_seconds)
    end = NOW + timedelta(seconds=grace_seconds) if grace_seconds else None
    ended = (SecretEnd(id="s2", ends_at=end), SecretEnd(id="s1"))
    rotated = KeyRotated(organization_id="org_a", key_id="key_a", secret=THIRD, ended=ended)
    outcome = keys.given(CREATED, GRACEFUL).when(again).then(rotated)
    assert isinstance(outcome.state, Active)
    assert outcome.state.secrets[0] == LiveSecret(THIRD)
    assert FIRST not in [live.secret for live in outcome.state.secrets]


@given(st.lists(st.none() | st.integers(0, 30 * 24 * 3600), max_size=8))
def test_never_more_than_two_secrets_live_and_the_newest_has_no_end(steps: list[int | None]) -> None:
    facts: list[KeyEvent] = [CREATED]
    newest = FIRST
    for number, grace_seconds in enumerate(steps):
        if grace_seconds is None:
            facts += decide(fold(facts), FinishRotation("key_a"))
        else:
            newest = Secret(id=f"n{number}", digest=b"n", pepper="p")
            at = NOW + timedelta(days=number)
            facts += decide(fold(facts), RotateKey(key_id="key_a", secret=newest, at=at, grace_seconds=grace_seconds))
        key = fold(facts)
        assert isinstance(key, Active)
        first, *others = key.secrets
        assert first == LiveSecret(newest)
        assert len(others) <= (0 if grace_seconds is None else 1)
        assert all(live.ends_at is not None for live in others)


def test_a_grace_can_be_ended_early_and_then_there_is_none_to_end() -> None:
    finished = KeyRotationFinished(organization_id="org_a", key_id="key_a", ended=("s1",))
    outcome = keys.given(CREATED, GRACEFUL).when(FinishRotation("key_a")).then(finished)
    assert isinstance(outcome.state, Active)
    assert outcome.state.secrets == (LiveSecret(SECOND),)
    keys.given(CREATED, GRACEFUL, finished).when(FinishRotation("key_a")).then_nothing()
    keys.given(CREATED).when(FinishRotation("key_a")).then_nothing()


def test_an_update_says_only_what_changes() -> None:
    command = UpdateKey(key_id="key_a", at=NOW, name="new", description="", role="developer")
    keys.given(CREATED).when(command).then(KeyUpdated(organization_id="org_a", key_id="key_a", name="new"))


def test_an_update_that_changes_nothing_is_no_event() -> None:
    same = UpdateKey(key_id="key_a", at=NOW, name="checkout", role="developer", expires_at=LATER)
    keys.given(CREATED).when(same).then_nothing()


def test_an_expiry_can_be_removed() -> None:
    outcome = keys.given(CREATED).when(UpdateKey(key_id="key_a", at=NOW, expires_at=None))
    outcome.then(KeyUpdated(organization_id="org_a", key_id="key_a", expires_at=None))
    assert isinstance(outcome.state, Active)
    assert outcome.state.expires_at is None


def test_an_expiry_cannot_be_moved_into_the_past() -> None:
    past = UpdateKey(key_id="key_a", at=NOW, expires_at=NOW)
    keys.given(CREATED).when(past).then_refused(KeyRefused, field="expires_at")


def test_an_expiry_that_has_passed_may_be_repeated_but_not_set() -> None:
    after = LATER + timedelta(days=1)
    keys.given(CREATED).when(UpdateKey(key_id="key_a", at=after, expires_at=LATER)).then_nothing()


def test_metadata_is_merged_and_the_event_holds_all_of_it() -> None:
    given = keys.given(replace(CREATED, metadata={"customer": "acme", "limits": {"a": 1, "b": 2}}))
    patch = UpdateKey(key_id="key_a", at=NOW, metadata={"limits": {"b": None, "c": 3}, "customer": None})
    merged = {"limits": {"a": 1, "c": 3}}
    outcome = given.when(patch).then(KeyUpdated(organization_id="org_a", key_id="key_a", metadata=merged))
    assert isinstance(outcome.state, Active)
    assert outcome.state.metadata == merged
    emptied = KeyUpdated(organization_id="org_a", key_id="key_a", metadata={})
    given.when(UpdateKey(key_id="key_a", at=NOW, metadata=None)).then(emptied)


def test_metadata_that_stays_the_same_json_is_no_change() -> None:
    given = keys.given(replace(CREATED, metadata={"n": 1}))
    given.when(UpdateKey(key_id="key_a", at=NOW, metadata={"n": 1, "x": None})).then_nothing()
    true = KeyUpdated(organization_id="org_a", key_id="key_a", metadata={"n": True})
    changed = given.when(UpdateKey(key_id="key_a", at=NOW, metadata={"n": True})).events
    assert msgspec.json.encode(changed) == msgspec.json.encode([true])


FULL = {str(number): 0 for number in range(MAX_NAMES)}
LONG = {"text": "x" * (MAX_BYTES - len('{"text":""}'))}


@pytest.mark.parametrize(("held", "more"), [(FULL, {"one more": 0}), (LONG, {"text": LONG["text"] + "x"})])
def test_metadata_does_not_outgrow_its_bounds_by_merging(held: Metadata, more: Metadata) -> None:
    keys.given().when(replace(CREATE, metadata=held)).then(replace(CREATED, metadata=held))
    update = UpdateKey(key_id="key_a", at=NOW, metadata=more)
    keys.given(replace(CREATED, metadata=held)).when(update).then_refused(KeyRefused, field="metadata")
    keys.given().when(replace(CREATE, metadata={**held, **more})).then_refused(KeyRefused, field="metadata")


def test_a_role_can_be_taken_off_a_personal_key_only() -> None:
    off = UpdateKey(key_id="key_a", at=NOW, role=None)
    keys.given(CREATED).when(off).then_refused(KeyRefused, field="role")
    own = replace(PERSONAL, role="viewer")
    keys.given(own).when(off).then(KeyUpdated(organization_id="org_a", key_id="key_a", role=None))


def test_a_disabled_key_can_be_enabled_and_is_otherwise_as_before() -> None:
    disabled = keys.given(CREATED).when(DisableKey("key_a")).then(DISABLED)
    assert isinstance(disabled.state, Active)
    assert disabled.state.disabled
    enabled = keys.given(CREATED, DISABLED).when(EnableKey("key_a")).then(ENABLED)
    assert enabled.state == fold([CREATED])


def test_what_a_key_is_already_it_does_not_become_again() -> None:
    keys.given(CREATED, DISABLED).when(DisableKey("key_a")).then_nothing()
    keys.given(CREATED).when(EnableKey("key_a")).then_nothing()


def test_a_new_secret_does_not_enable_a_key() -> None:
    outcome = keys.given(CREATED, DISABLED).when(ROTATE)
    assert isinstance(outcome.state, Active)
    assert outcome.state.disabled


def test_a_key_is_revoked_with_a_reason() -> None:
    keys.given(CREATED).when(RevokeKey("key_a")).then(REVOKED)
    keys.given(CREATED).when(RevokeKey("key_a", "leaked")).then(replace(REVOKED, reason="leaked"))


@pytest.mark.parametrize(
    "command",
    [
        ROTATE,
        FinishRotation("key_a"),
        UpdateKey(key_id="key_a", at=NOW, name="new"),
        DisableKey("key_a"),
        EnableKey("key_a"),
        RevokeKey("key_a"),
    ],
)
@pytest.mark.parametrize("facts", [[], [CREATED, REVOKED]], ids=["unknown", "revoked"])
def test_nothing_happens_to_a_key_that_is_not_there_or_not_any_more(facts: list[KeyEvent], command: KeyCommand) -> None:
    keys.given(*facts).when(command).then_refused(KeyNotFound, key_id="key_a")


def test_a_revoked_key_is_remembered_as_it_was() -> None:
    living = fold([CREATED])
    assert isinstance(living, Active)
    assert fold([CREATED, REVOKED]) == Revoked(living, "unspecified")


@pytest.mark.parametrize("event", [REVOKED, KeyUpdated(organization_id="org_a", key_id="key_a", name="x")])
def test_a_stream_that_does_not_begin_with_a_creation_is_refused(event: KeyEvent) -> None:
    with pytest.raises(TypeError, match="out of order"):
        fold([event])
