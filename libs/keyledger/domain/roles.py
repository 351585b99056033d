"""Roles: defined, changed. The built-in ones are defined with their organization and stay as they are."""

from typing import assert_never

from msgspec import UNSET, Struct, UnsetType

from keyledger.domain.events import RoleDefined
from keyledger.domain.permissions import Role


class Undefined(Struct, frozen=True):
    """There is no such role."""


class Defined(Struct, frozen=True, kw_only=True):
    """A role of an organization."""

    organization_id: str
    definition: Role
    builtin: bool


AnyRole = Undefined | Defined


class DefineRole(Struct, frozen=True):
    """Make a role."""

    organization_id: str
    definition: Role


class ChangeRole(Struct, frozen=True, kw_only=True):
    """Change what is given; leave what is not."""

    role: str
    name: str | UnsetType = UNSET
    permissions: frozenset[str] | UnsetType = UNSET
    grants: frozenset[str] | UnsetType = UNSET


RoleCommand = DefineRole | ChangeRole


class RoleError(Exception):
    """A command that cannot be carried out on this role."""

    def __init__(self, role: str) -> None:
        super().__init__(role)
        self.role = role


class RoleExists(RoleError):
    """There is a role of this id."""


class RoleNotFound(RoleError):
    """There is no such role."""


class BuiltinRoleStays(RoleError):
    """A built-in role is the same in every organization: nobody changes it."""


def decide(role: AnyRole, command: RoleCommand) -> list[RoleDefined]:
    """Say what happens. A command that would change nothing has no event."""
    match command:
        case DefineRole():
            return _define(role, command)
        case ChangeRole():
            return _change(role, command)
        case _:
            assert_never(command)


def _define(role: AnyRole, command: DefineRole) -> list[RoleDefined]:
    match role:
        case Undefined():
            return [_defined(command.organization_id, command.definition)]
        case Defined():
            raise RoleExists(command.definition.id)
        case _:
            assert_never(role)


def _change(role: AnyRole, command: ChangeRole) -> list[RoleDefined]:
    match role:
        case Undefined():
            raise RoleNotFound(command.role)
        case Defined(builtin=True):
            raise BuiltinRoleStays(command.role)
        case Defined(definition=definition):
            changed = changed_by(command, definition)
            return [] if changed == definition else [_defined(role.organization_id, changed)]
        case _:
            assert_never(role)


def changed_by(command: ChangeRole, definition: Role) -> Role:
    """Return what the command makes of a definition."""
    return Role(
        definition.id,
        definition.name if command.name is UNSET else command.name,
        definition.permissions if command.permissions is UNSET else command.permissions,
        definition.grants if command.grants is UNSET else command.grants,
    )


def _defined(organization_id: str, definition: Role) -> RoleDefined:
    return RoleDefined(
        organization_id=organization_id,
        role=definition.id,
        name=definition.name,
        permissions=tuple(sorted(definition.permissions)),
        grants=tuple(sorted(definition.grants)),
    )


def evolve(role: AnyRole, event: RoleDefined) -> AnyRole:  # noqa: ARG001 - the last definition holds, whatever was before
    """Return the role after the event."""
    return Defined(
        organization_id=event.organization_id,
        definition=Role(event.role, event.name, frozenset(event.permissions), frozenset(event.grants)),
        builtin=event.builtin,
    )


def fold(events: list[RoleDefined]) -> AnyRole:
    """Return the role that these events, all of one stream, make."""
    role: AnyRole = Undefined()
    for event in events:
        role = evolve(role, event)
    return role
