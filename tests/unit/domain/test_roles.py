"""Roles, in sentences."""

import pytest
from msgspec.structs import replace

from keyledger.domain.events import RoleClosed, RoleDefined, RoleDeleted, RoleEvent
from keyledger.domain.organizations import builtin_roles
from keyledger.domain.permissions import Role
from keyledger.domain.roles import (
    AnyRole,
    BuiltinRoleStays,
    ChangeRole,
    Closed,
    CloseRole,
    Defined,
    DefineRole,
    DeleteRole,
    RoleCommand,
    RoleExists,
    RoleIsOpen,
    RoleNotFound,
    Undefined,
    decide,
    definition_of,
    evolve,
)
from keyledger.testing.given import Decider

DEPLOYER = Role("deployer", "Deployer", frozenset({"agents:*", "a:b"}), frozenset({"viewer"}))
DEFINED = RoleDefined(
    organization_id="org_a", role="deployer", name="Deployer", permissions=("a:b", "agents:*"), grants=("viewer",)
)
CLOSED = RoleClosed(organization_id="org_a", role="deployer")
DELETED = RoleDeleted(organization_id="org_a", role="deployer")
BUILTINS = builtin_roles("org_a")

roles: Decider[AnyRole, RoleCommand, RoleEvent] = Decider(initial=Undefined(), decide=decide, evolve=evolve)


def test_a_role_is_defined_once() -> None:
    define = DefineRole("org_a", DEPLOYER)
    roles.given().when(define).then(DEFINED)
    roles.given(DEFINED).when(define).then_refused(RoleExists, role="deployer")


def test_a_definition_is_read_back_as_it_was_made() -> None:
    roles.given(DEFINED).then_state(Defined(organization_id="org_a", definition=DEPLOYER, builtin=False))


def test_a_change_leaves_what_is_not_given() -> None:
    renamed = replace(DEFINED, name="Renamed")
    roles.given(DEFINED).when(ChangeRole(role="deployer", name="Renamed")).then(renamed)
    narrowed = replace(DEFINED, permissions=("a:b",))
    roles.given(DEFINED).when(ChangeRole(role="deployer", permissions=frozenset({"a:b"}))).then(narrowed)
    lonely = replace(DEFINED, grants=())
    roles.given(DEFINED).when(ChangeRole(role="deployer", grants=frozenset())).then(lonely)


def test_a_change_to_what_is_so_already_changes_nothing() -> None:
    same = ChangeRole(role="deployer", name="Deployer", permissions=DEPLOYER.permissions, grants=DEPLOYER.grants)
    roles.given(DEFINED).when(same).then_nothing()


def test_a_role_that_is_not_there_cannot_be_changed() -> None:
    roles.given().when(ChangeRole(role="deployer", name="x")).then_refused(RoleNotFound, role="deployer")


@pytest.mark.parametrize("builtin", BUILTINS, ids=lambda event: event.role)
def test_nobody_changes_a_builtin_role(builtin: RoleDefined) -> None:
    change = ChangeRole(role=builtin.role, name=builtin.name)
    roles.given(builtin).when(change).then_refused(BuiltinRoleStays, role=builtin.role)
    roles.given(builtin).when(CloseRole(builtin.role)).then_refused(BuiltinRoleStays, role=builtin.role)


def test_a_role_is_closed_before_it_is_deleted() -> None:
    roles.given(DEFINED).when(DeleteRole("deployer")).then_refused(RoleIsOpen, role="deployer")
    roles.given(DEFINED).when(CloseRole("deployer")).then(CLOSED)
    roles.given(DEFINED, CLOSED).when(CloseRole("deployer")).then_nothing()
    roles.given(DEFINED, CLOSED).when(DeleteRole("deployer")).then(DELETED)


def test_whoever_has_a_closed_role_keeps_it() -> None:
    closed = Closed(Defined(organization_id="org_a", definition=DEPLOYER, builtin=False))
    roles.given(DEFINED, CLOSED).then_state(closed)
    assert definition_of(closed) == DEPLOYER


def test_a_change_opens_a_closed_role_even_if_it_changes_nothing() -> None:
    roles.given(DEFINED, CLOSED).when(ChangeRole(role="deployer")).then(DEFINED)
    roles.given(DEFINED, CLOSED, DEFINED).when(DeleteRole("deployer")).then_refused(RoleIsOpen, role="deployer")


def test_the_id_of_a_closed_role_is_taken_and_that_of_a_deleted_one_is_free() -> None:
    define = DefineRole("org_a", DEPLOYER)
    roles.given(DEFINED, CLOSED).when(define).then_refused(RoleExists, role="deployer")
    roles.given(DEFINED, CLOSED, DELETED).when(define).then(DEFINED)


@pytest.mark.parametrize("command", [ChangeRole(role="deployer"), CloseRole("deployer"), DeleteRole("deployer")])
@pytest.mark.parametrize("before", [(), (DEFINED, CLOSED, DELETED)])
def test_nothing_happens_to_a_role_that_is_not_there(before: tuple[RoleEvent, ...], command: RoleCommand) -> None:
    roles.given(*before).when(command).then_refused(RoleNotFound, role="deployer")


@pytest.mark.parametrize("before", [(CLOSED,), (DELETED,), (DEFINED, DELETED), (DEFINED, CLOSED, CLOSED)])
def test_what_cannot_have_happened_is_refused(before: tuple[RoleEvent, ...]) -> None:
    with pytest.raises(TypeError, match="out of order"):
        roles.given(*before)
