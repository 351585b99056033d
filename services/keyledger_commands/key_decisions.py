"""What is decided about keys, and on which circumstances the decision rests."""

from collections.abc import Callable, Sequence
from typing import Any

from keyledger.domain.identifiers import is_resource_id
from keyledger.domain.keys import (
    OWNER_TYPES,
    Absent,
    Active,
    CreateKey,
    DisableKey,
    EnableKey,
    FinishRotation,
    KeyCommand,
    KeyNotFound,
    KeyRefused,
    RevokeKey,
    RotateKey,
    UpdateKey,
    decide,
)
from keyledger.domain.people import DeactivatedUser, Nobody
from keyledger.web.conditions import check_if_match
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem
from keyledger_commands.bodies import CreateKeyBody
from keyledger_commands.granting import OWNER_WORDS, check_grant, look_around
from keyledger_commands.streams import NEW, Read, Stream, died_with_owner
from keyledger_commands.writing import Decision


async def creation(caller: Principal, read: Read, command: CreateKey) -> Decision:
    """Decide on a new key, guarded by its owner, roles and organization.

    Raises:
        Problem: ``invalid-request`` for an owner or role that is not there, ``not-grantable``.
    """
    owner_type = OWNER_TYPES[command.type]
    around = await look_around(
        read,
        command.organization_id,
        roles=[command.role],
        owner_id=command.owner_id,
        owner_type=owner_type,
    )
    if isinstance(around.owner, Nobody):
        raise refused("owner_id", f"there is no such {OWNER_WORDS[owner_type]}")
    if isinstance(around.owner, DeactivatedUser):
        raise refused("owner_id", "the user is deactivated")
    for why in around.unavailable.values():
        raise refused("role", why)
    events = _decided(Absent(), command)
    check_grant(caller, around, [command.role])
    return Decision(stream=command.key_id, before=NEW, events=events, guards=around.guards)


async def on_living(
    caller: Principal,
    read: Read,
    key_id: str,
    command: Callable[[Active], RotateKey | FinishRotation | UpdateKey | DisableKey | EnableKey],
    if_match: str | None,
    *,
    also_roles: Sequence[str | None] = (),
    gives: bool = True,
) -> Decision:
    """Decide on a key that exists, as somebody who may hand out what it can do, before and after.

    ``gives`` False: the command only takes away, and needs no right to grant.

    Raises:
        Problem: ``not-found``, ``precondition-failed``, ``not-grantable``, ``invalid-request``.
    """
    key, stream = await _existing(caller, read, key_id)
    roles = [key.role, *also_roles]
    around = await look_around(read, key.organization_id, roles=roles, owner_id=key.owner_id, owner_type=key.owner_type)
    if died_with_owner(stream, around.owner_stream):
        raise _not_found()
    check_if_match(if_match, stream.version)
    if not gives:
        return Decision(stream=key.key_id, before=stream, events=_decided(key, command(key)))
    if isinstance(around.owner, Nobody):  # of nobody's roles none could be refused
        raise Problem("not-grantable", "its owner is not there")
    for role in around.unavailable.keys() - {key.role}:
        raise refused("role", around.unavailable[role])
    check_grant(caller, around, roles)
    return Decision(stream=key.key_id, before=stream, events=_decided(key, command(key)), guards=around.guards)


async def revocation(caller: Principal, read: Read, command: RevokeKey, if_match: str | None) -> Decision:
    """Decide on the end of a key: it needs no right to grant, and rests on the key alone.

    Raises:
        Problem: ``not-found``, ``precondition-failed``.
    """
    key, stream = await _existing(caller, read, command.key_id)
    check_if_match(if_match, stream.version)
    return Decision(stream=key.key_id, before=stream, events=_decided(key, command))


async def _existing(caller: Principal, read: Read, key_id: str) -> tuple[Active, Stream]:
    """Return a living key of the caller's organization and its stream.

    Raises:
        Problem: ``not-found``, in the same words for an unknown, a foreign and a revoked key.
    """
    if is_resource_id(key_id, "key"):
        stream = (await read([key_id]))[key_id]
        key = stream.key
        if isinstance(key, Active) and key.organization_id == caller.organization_id:
            return key, stream
    raise _not_found()


def _not_found() -> Problem:
    return Problem("not-found", "there is no such API key")


def owner_id_for(body: CreateKeyBody, caller: Principal) -> str:
    """Return the owner that a body names, or the caller's own user where it may be left out.

    Raises:
        Problem: ``invalid-request`` at ``#/owner_id``.
    """
    if body.owner_id is not None:
        return body.owner_id
    if body.type == "personal" and caller.user_id is not None:
        return caller.user_id
    why = "no person stands behind your API key" if body.type == "personal" else f"a {body.type} key needs an owner"
    raise refused("owner_id", why)


def _decided(key: Absent | Active, command: KeyCommand) -> list[Any]:
    try:
        return list(decide(key, command))
    except KeyNotFound:
        raise _not_found() from None
    except KeyRefused as refusal:
        raise refused(refusal.field, refusal.why) from None


def refused(field: str, why: str) -> Problem:
    """Return the refusal that points to a field of the body."""
    return Problem("invalid-request", "see errors", errors=[(f"#/{field}", why)])
