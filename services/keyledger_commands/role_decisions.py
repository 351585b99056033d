"""What is decided about roles, and on which circumstances the decision rests."""

from keyledger.domain.events import RoleEvent
from keyledger.domain.identifiers import ROLE_ID, role_stream
from keyledger.domain.permissions import ANY, UNPRIVILEGED
from keyledger.domain.roles import (
    AnyRole,
    BuiltinRoleStays,
    ChangeRole,
    CloseRole,
    DefineRole,
    DeleteRole,
    RoleCommand,
    RoleExists,
    RoleIsOpen,
    Undefined,
    decide,
    definition_of,
    fold,
)
from keyledger.eventstore.port import Ledger
from keyledger.web.conditions import check_if_match
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem
from keyledger_commands.granting import check_definition, look_around
from keyledger_commands.role_uses import Uses, uses_of
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


async def closing(caller: Principal, read: Read, role: str, if_match: str | None) -> Decision:
    """Decide that nobody gets a role any more.

    Raises:
        Problem: ``not-found``, ``precondition-failed``, ``builtin-role``.
    """
    stream = await existing_role(caller, read, role)
    check_if_match(if_match, stream.version)
    return _without_gift(caller, stream, CloseRole(role))


async def deletion(caller: Principal, read: Read, role: str, ledger: Ledger) -> Decision:
    """Decide on the end of a closed role: as nobody gets it any more, whoever has it stands in the ledger before that.

    Raises:
        RoleInUse: a problem that says by what.
        Problem: ``not-found``, ``conflict`` where somebody has opened it again.
    """
    stream = await existing_role(caller, read, role)
    decision = _without_gift(caller, stream, DeleteRole(role))
    uses = await uses_of(ledger, read, stream, role)
    if uses.any():
        raise RoleInUse(uses)
    return decision


class RoleInUse(Problem):
    """A closed role that cannot be deleted, and should be opened again."""

    def __init__(self, uses: Uses) -> None:
        super().__init__("role-in-use", uses.told())


async def existing_role(caller: Principal, read: Read, role: str) -> Stream:
    """Return the stream of a role of the caller's organization.

    Raises:
        Problem: ``not-found``.
    """
    if ROLE_ID.fullmatch(role):
        name = role_stream(caller.organization_id, role)
        stream = (await read([name]))[name]
        if not isinstance(stream.role, Undefined):
            return stream
    raise Problem("not-found", "there is no such role")


def _without_gift(caller: Principal, stream: Stream, command: CloseRole | DeleteRole) -> Decision:
    """Decide on what gives nobody anything."""
    name = role_stream(caller.organization_id, command.role)
    return Decision(stream=name, before=stream, events=_decided(stream.role, command))


async def _decision(
    caller: Principal, read: Read, name: str, stream: Stream, command: DefineRole | ChangeRole
) -> Decision:
    events = _decided(stream.role, command)
    before, after = definition_of(stream.role), definition_of(fold([*stream.events, *events]))
    if after is None:
        raise TypeError(f"{type(command).__name__} leaves no role")
    new = after.grants - (before.grants if before else frozenset()) - {ANY, UNPRIVILEGED, after.id}
    around = await look_around(read, caller.organization_id, roles=sorted(new))
    if around.unavailable:
        raise Problem("invalid-request", "see errors", errors=around.refusals("#/grants"))
    check_definition(caller, before, after)
    return Decision(stream=name, before=stream, events=events, guards=around.guards)


def _decided(role: AnyRole, command: RoleCommand) -> list[RoleEvent]:
    try:
        return decide(role, command)
    except RoleExists:
        raise Problem("role-exists", "choose another id, or change the role that there is") from None
    except BuiltinRoleStays:
        raise Problem("builtin-role", "define a role of your own") from None
    except RoleIsOpen:
        detail = "somebody has opened it again at the same time"
        raise Problem("conflict", detail, headers={"Retry-After": "1"}) from None
