"""What is decided about roles, and on which circumstances the decision rests."""

from keyledger.domain.events import RoleDefined
from keyledger.domain.identifiers import ROLE_ID, role_stream
from keyledger.domain.permissions import ANY, UNPRIVILEGED
from keyledger.domain.roles import (
    AnyRole,
    BuiltinRoleStays,
    ChangeRole,
    Defined,
    DefineRole,
    RoleCommand,
    RoleExists,
    decide,
    fold,
)
from keyledger.web.conditions import check_if_match
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem
from keyledger_commands.granting import check_definition, look_around
from keyledger_commands.streams import Read, Stream
from keyledger_commands.writing import Decision


async def definition(caller: Principal, read: Read, command: DefineRole) -> Decision:
    """Decide on a new role, as somebody who has all that it is to have.

    Raises:
        Problem: ``role-exists``, ``invalid-request`` for a grant of a role that is not there, ``not-grantable``.
    """
    name = role_stream(command.organization_id, command.definition.id)
    return await _decision(caller, read, name, (await read([name]))[name], command)


async def change(caller: Principal, read: Read, command: ChangeRole, if_match: str | None) -> Decision:
    """Decide on a change of a role, as somebody who has all that it gets by it.

    Raises:
        Problem: ``not-found``, ``precondition-failed``, ``builtin-role``, and as ``definition``.
    """
    stream = await existing_role(caller, read, command.role)
    check_if_match(if_match, stream.version)
    return await _decision(caller, read, role_stream(caller.organization_id, command.role), stream, command)


async def existing_role(caller: Principal, read: Read, role: str) -> Stream:
    """Return the stream of a role of the caller's organization.

    Raises:
        Problem: ``not-found``.
    """
    if ROLE_ID.fullmatch(role):
        name = role_stream(caller.organization_id, role)
        stream = (await read([name]))[name]
        if isinstance(stream.role, Defined):
            return stream
    raise Problem("not-found", "there is no such role")


async def _decision(caller: Principal, read: Read, name: str, stream: Stream, command: RoleCommand) -> Decision:
    events = _decided(stream.role, command)
    before, after = stream.role, fold([*stream.events, *events])
    if not isinstance(after, Defined):
        raise TypeError(f"{type(command).__name__} leaves no role")
    named = after.definition.grants - {ANY, UNPRIVILEGED, after.definition.id}
    around = await look_around(read, caller.organization_id, roles=named)
    if around.undefined:
        missing = [("#/grants", f"there is no such role: {role}") for role in sorted(around.undefined)]
        raise Problem("invalid-request", "see errors", errors=missing)
    check_definition(caller, before.definition if isinstance(before, Defined) else None, after.definition)
    return Decision(stream=name, before=stream, events=events, guards=around.guards)


def _decided(role: AnyRole, command: RoleCommand) -> list[RoleDefined]:
    try:
        return decide(role, command)
    except RoleExists:
        raise Problem("role-exists", "choose another id, or change the role that there is") from None
    except BuiltinRoleStays:
        raise Problem("builtin-role", "define a role of your own") from None
