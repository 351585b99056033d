"""Roles: defined, changed, closed and deleted. The built-in ones come with their organization and stay as they are."""

from typing import assert_never

from msgspec import UNSET, Struct, UnsetType

from keyledger.domain.events import RoleClosed, RoleDefined, RoleDeleted, RoleEvent
from keyledger.domain.permissions import Role


class Undefined(Struct, frozen=True):
    """There is no such role, or none any more."""


class Defined(Struct, frozen=True, kw_only=True):
    """A role of an organization."""

    organization_id: str
    definition: Role
    builtin: bool


class Closed(Struct, frozen=True):
    """A role that is being deleted: whoever has it keeps it, and nobody gets it. A change of it opens it again."""

    last: Defined


AnyRole = Undefined | Defined | Closed


class DefineRole(Struct, frozen=True):
    """Make a role."""

    organization_id: str
    definition: Role


class ChangeRole(Struct, frozen=True, kw_only=True):
    """Change what is given; leave what is not. Without anything: open the role again."""

    role: str
    name: str | UnsetType = UNSET
    permissions: frozenset[str] | UnsetType = UNSET
    grants: frozenset[str] | UnsetType = UNSET


class CloseRole(Struct, frozen=True):
    """Let nobody get the role any more."""

    role: str


class DeleteRole(Struct, frozen=True):
    """End a closed role that nobody has."""

    role: str


RoleCommand = DefineRole | ChangeRole | CloseRole | DeleteRole


class RoleError(Exception):
    """A command that cannot be carried out on this role."""

    def __init__(self, role: str) -> None:
        super().__init__(role)
        self.role = role


class RoleExists(RoleError):
    """There is a role of this id."""


class RoleNotFound(RoleError):
    """There is no such role."""


class RoleIsOpen(RoleError):
    """It cannot be deleted: while it is open, anybody may get it."""


class BuiltinRoleStays(RoleError):
    """A built-in role is the same in every organization: nobody changes or deletes it."""


def decide(role: AnyRole, command: RoleCommand) -> list[RoleEvent]:
    """Say what happens. A command that would change nothing has no event."""
    match command:
        case DefineRole(organization_id=organization_id, definition=definition):
            if not isinstance(role, Undefined):
                raise RoleExists(definition.id)
            return [_defined(organization_id, definition)]
        case ChangeRole():
            return _change(role, command)
        case CloseRole():
            return _close(role, command)
        case DeleteRole():
            return _delete(role, command)
        case _:
            assert_never(command)


def _change(role: AnyRole, command: ChangeRole) -> list[RoleEvent]:
    match role:
        case Undefined():
            raise RoleNotFound(command.role)
        case Defined(builtin=True):
            raise BuiltinRoleStays(command.role)
        case Defined(definition=definition):
            changed = _changed(definition, command)
            return [] if changed == definition else [_defined(role.organization_id, changed)]
        case Closed(last=last):
            return [_defined(last.organization_id, _changed(last.definition, command))]
        case _:
            assert_never(role)


def _close(role: AnyRole, command: CloseRole) -> list[RoleEvent]:
    match role:
        case Undefined():
            raise RoleNotFound(command.role)
        case Defined(builtin=True):
            raise BuiltinRoleStays(command.role)
        case Defined():
            return [RoleClosed(organization_id=role.organization_id, role=command.role)]
        case Closed():
            return []
        case _:
            assert_never(role)


def _delete(role: AnyRole, command: DeleteRole) -> list[RoleEvent]:
    match role:
        case Undefined():
            raise RoleNotFound(command.role)
        case Defined():
            raise RoleIsOpen(command.role)
        case Closed(last=last):
            return [RoleDeleted(organization_id=last.organization_id, role=command.role)]
        case _:
            assert_never(role)


def _changed(definition: Role, command: ChangeRole) -> Role:
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


def evolve(role: AnyRole, event: RoleEvent) -> AnyRole:
    """Return the role after the event. Of several definitions the last one holds, and it opens a closed role."""
    match event:
        case RoleDefined():
            return Defined(
                organization_id=event.organization_id,
                definition=Role(event.role, event.name, frozenset(event.permissions), frozenset(event.grants)),
                builtin=event.builtin,
            )
        case RoleClosed() if isinstance(role, Defined):
            return Closed(role)
        case RoleDeleted() if isinstance(role, Closed):
            return Undefined()
        case RoleClosed() | RoleDeleted():
            raise TypeError(f"{type(event).__name__} on {type(role).__name__}: its stream is out of order")
        case _:
            assert_never(event)


def fold(events: list[RoleEvent]) -> AnyRole:
    """Return the role that these events, all of one stream, make."""
    role: AnyRole = Undefined()
    for event in events:
        role = evolve(role, event)
    return role


def definition_of(role: AnyRole) -> Role | None:
    """Return what whoever has the role may do; None where it is not there."""
    match role:
        case Undefined():
            return None
        case Defined(definition=definition) | Closed(last=Defined(definition=definition)):
            return definition
        case _:
            assert_never(role)
