"""What is decided about users, teams and service accounts, and on which circumstances the decision rests."""

from keyledger.domain.events import OwnerType
from keyledger.domain.identifiers import is_resource_id
from keyledger.domain.people import (
    CreateUser,
    DeactivatedUser,
    DeactivateUser,
    Nobody,
    OwnerCreation,
    ReactivateUser,
    SelfDeactivation,
    decide,
)
from keyledger.eventstore.port import Profile
from keyledger.web.conditions import check_if_match
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem
from keyledger_commands.granting import OWNER_WORDS, check_grant, is_owner_in, look_around
from keyledger_commands.streams import NEW, Read, Stream
from keyledger_commands.writing import Decision


async def owner_creation(
    caller: Principal, read: Read, owner_id: str, command: OwnerCreation, profile: Profile | None
) -> Decision:
    """Decide on a new owner, as somebody who may hand out the roles that it is to have.

    Raises:
        Problem: ``invalid-request`` for a role that is not there, ``not-grantable``.
    """
    roles = command.roles if isinstance(command, CreateUser) else ()
    around = await look_around(read, caller.organization_id, roles=roles)
    if around.unavailable:
        raise Problem("invalid-request", "see errors", errors=around.refusals("#/roles"))
    check_grant(caller, around, roles)
    return Decision(
        stream=owner_id, before=NEW, events=decide(Nobody(), command), guards=around.guards, profile=profile
    )


async def change_of_user(
    caller: Principal, read: Read, command: DeactivateUser | ReactivateUser, if_match: str | None
) -> Decision:
    """Decide on a user's deactivation or reactivation. The second hands roles out, and needs the right to grant them.

    Raises:
        Problem: ``not-found``, ``precondition-failed``, ``self-deactivation``, ``not-grantable``.
    """
    stream = await existing_owner(caller, read, "user", command.user_id)
    check_if_match(if_match, stream.version)
    user, guards = stream.owner, dict[str, int]()
    if isinstance(command, ReactivateUser) and isinstance(user, DeactivatedUser):
        around = await look_around(read, caller.organization_id, roles=user.last.roles)
        check_grant(caller, around, user.last.roles)
        guards = around.guards
    try:
        events = decide(user, command)
    except SelfDeactivation:
        raise Problem("self-deactivation", "another administrator can do it") from None
    return Decision(stream=command.user_id, before=stream, events=events, guards=guards)


async def existing_owner(caller: Principal, read: Read, kind: OwnerType, owner_id: str) -> Stream:
    """Return the stream of an owner of the caller's organization.

    Raises:
        Problem: ``not-found``, for a foreign and an unknown one alike.
    """
    if is_resource_id(owner_id, kind):
        stream = (await read([owner_id]))[owner_id]
        if is_owner_in(caller.organization_id, stream, kind):
            return stream
    raise Problem("not-found", f"there is no such {OWNER_WORDS[kind]}")
