"""Roles, in sentences."""

import pytest
from msgspec.structs import replace

from keyledger.domain.events import RoleDefined
from keyledger.domain.organizations import builtin_roles
from keyledger.domain.permissions import Role
from keyledger.domain.roles import (
    AnyRole,
    BuiltinRoleStays,
    ChangeRole,
    Defined,
    DefineRole,
    RoleCommand,
    RoleExists,
    RoleNotFound,
    Undefined,
    decide,
    evolve,
)
from keyledger.testing.given import Decider

DEPLOYER = Role("deployer", "Deployer", frozenset({"agents:*", "a:b"}), frozenset({"viewer"}))
DEFINED = RoleDefined(
    organization_id="org_a", role="deployer", name="Deployer", permissions=("a:b", "agents:*"), grants=("viewer",)
)
BUILTINS = builtin_roles("org_a")

roles: Decider[AnyRole, RoleCommand, RoleDefined] = Decider(initial=Undefined(), decide=decide, evolve=evolve)


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
