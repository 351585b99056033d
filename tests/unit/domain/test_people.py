"""Who can own keys, in sentences."""

import pytest

from keyledger.domain.events import (
    OwnerEvent,
    ServiceAccountCreated,
    TeamCreated,
    UserCreated,
    UserDeactivated,
    UserReactivated,
)
from keyledger.domain.people import (
    CreateServiceAccount,
    CreateTeam,
    CreateUser,
    DeactivatedUser,
    DeactivateUser,
    Nobody,
    Owner,
    OwnerCommand,
    OwnerRefused,
    ReactivateUser,
    SelfDeactivation,
    ServiceAccount,
    Team,
    User,
    UserNotFound,
    decide,
    evolve,
    fold,
    roles_of,
)
from keyledger.testing.given import Decider

USER = UserCreated(organization_id="org_a", user_id="user_a", roles=("viewer",))
TEAM = TeamCreated(organization_id="org_a", team_id="team_a", name="Payments")
SERVICE = ServiceAccountCreated(organization_id="org_a", service_account_id="service_a", name="export", description="x")

DEACTIVATED = UserDeactivated(organization_id="org_a", user_id="user_a")
REACTIVATED = UserReactivated(organization_id="org_a", user_id="user_a")

people: Decider[Owner, OwnerCommand, OwnerEvent] = Decider(initial=Nobody(), decide=decide, evolve=evolve)


def test_a_user_is_created_with_roles_and_without_a_name() -> None:
    people.given().when(CreateUser(organization_id="org_a", user_id="user_a", roles=("viewer",))).then(USER)
    assert "name" not in UserCreated.__struct_fields__


def test_a_role_that_is_named_twice_is_given_once() -> None:
    twice = CreateUser(organization_id="org_a", user_id="user_a", roles=("viewer", "viewer"))
    people.given().when(twice).then(USER)


def test_a_user_without_any_role_is_refused() -> None:
    none = CreateUser(organization_id="org_a", user_id="user_a", roles=())
    people.given().when(none).then_refused(OwnerRefused, field="roles")


def test_a_team_and_a_service_account_are_created_by_name() -> None:
    people.given().when(CreateTeam(organization_id="org_a", team_id="team_a", name="Payments")).then(TEAM)
    command = CreateServiceAccount(
        organization_id="org_a", service_account_id="service_a", name="export", description="x"
    )
    people.given().when(command).then(SERVICE)


@pytest.mark.parametrize("there", [USER, TEAM, SERVICE])
def test_nobody_is_created_twice(there: OwnerEvent) -> None:
    command = CreateTeam(organization_id="org_a", team_id="team_a", name="Payments")
    people.given(there).when(command).then_refused(OwnerRefused, field="id")
    with pytest.raises(TypeError, match="out of order"):
        fold([there, there])


@pytest.mark.parametrize(("event", "form"), [(USER, User), (TEAM, Team), (SERVICE, ServiceAccount)])
def test_each_kind_of_owner_is_a_case_of_its_own(event: OwnerEvent, form: type[Owner]) -> None:
    assert isinstance(fold([event]), form)


def test_only_users_have_roles_of_their_own() -> None:
    assert roles_of(fold([USER])) == ("viewer",)
    assert roles_of(fold([TEAM])) == roles_of(fold([SERVICE])) == roles_of(Nobody()) == ()


def test_a_deactivated_user_has_no_roles_until_they_are_reactivated() -> None:
    people.given(USER).when(DeactivateUser("user_a", by="user_b")).then(DEACTIVATED)
    people.given(USER, DEACTIVATED).when(ReactivateUser("user_a")).then(REACTIVATED)
    user = User(organization_id="org_a", user_id="user_a", roles=("viewer",))
    people.given(USER, DEACTIVATED).then_state(DeactivatedUser(user))
    people.given(USER, DEACTIVATED, REACTIVATED).then_state(user)
    assert roles_of(DeactivatedUser(user)) == ()


def test_what_is_so_already_changes_nothing() -> None:
    people.given(USER, DEACTIVATED).when(DeactivateUser("user_a", by=None)).then_nothing()
    people.given(USER).when(ReactivateUser("user_a")).then_nothing()


def test_nobody_deactivates_themselves() -> None:
    people.given(USER).when(DeactivateUser("user_a", by="user_a")).then_refused(SelfDeactivation, user_id="user_a")
    people.given(USER).when(DeactivateUser("user_a", by=None)).then(DEACTIVATED)


@pytest.mark.parametrize("there", [(), (TEAM,), (SERVICE,)])
@pytest.mark.parametrize("command", [DeactivateUser("user_a", by=None), ReactivateUser("user_a")])
def test_only_users_are_deactivated_and_reactivated(there: tuple[OwnerEvent, ...], command: OwnerCommand) -> None:
    people.given(*there).when(command).then_refused(UserNotFound, user_id="user_a")


@pytest.mark.parametrize(
    "events",
    [(DEACTIVATED,), (REACTIVATED,), (TEAM, DEACTIVATED), (USER, REACTIVATED), (USER, DEACTIVATED, DEACTIVATED)],
)
def test_a_deactivation_out_of_order_is_noticed(events: tuple[OwnerEvent, ...]) -> None:
    with pytest.raises(TypeError, match="out of order"):
        fold([*events])
