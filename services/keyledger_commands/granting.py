"""What a key or role would be able to do, and whether the caller may hand that out."""

from collections.abc import Iterable
from typing import assert_never

from msgspec import Struct

from keyledger.domain.events import OwnerType
from keyledger.domain.identifiers import is_resource_id, role_stream
from keyledger.domain.people import DeactivatedUser, Owner, ServiceAccount, Team, User, roles_of
from keyledger.domain.permissions import EVERYTHING, Role
from keyledger.domain.roles import AnyRole, Closed, Defined, Undefined, definition_of
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem
from keyledger_commands.streams import NEW, Read, Stream

_OWNER_FORMS: dict[OwnerType, tuple[type[User | DeactivatedUser | Team | ServiceAccount], ...]] = {
    "user": (User, DeactivatedUser),
    "team": (Team,),
    "service": (ServiceAccount,),
}

OWNER_WORDS: dict[OwnerType, str] = {"user": "user", "team": "team", "service": "service account"}


class Circumstances(Struct, frozen=True, kw_only=True):
    """What a decision about keys or users rests on besides their own stream, and the versions it was read at."""

    owner_stream: Stream
    """``NEW`` where nobody is there."""
    guards: dict[str, int]
    roles: dict[str, Role]
    """Those that exist of the roles that were asked for, or that the owner has, by their ids."""
    unavailable: dict[str, str]
    """Why those of the roles that were asked for cannot be given to anybody that cannot, by their ids."""

    @property
    def owner(self) -> Owner:
        """The owner."""
        return self.owner_stream.owner

    def refusals(self, pointer: str) -> list[tuple[str, str]]:
        """Return what is wrong with a list of roles."""
        return [(pointer, f"{why}: {role}") for role, why in self.unavailable.items()]


async def look_around(
    read: Read,
    organization_id: str,
    *,
    roles: Iterable[str | None],
    owner_id: str | None = None,
    owner_type: OwnerType = "user",
) -> Circumstances:
    """Load an organization, an owner (None: there is none to look at) and roles; a role None stands for the owner's.

    An owner of another organization, or of another kind, is nobody here.
    """
    asked = list(roles)
    named = [role for role in asked if role is not None]
    asked_for = [organization_id, *(role_stream(organization_id, role) for role in named)]
    if owner_id is not None and is_resource_id(owner_id, owner_type):
        asked_for.append(owner_id)
    loaded = await read(asked_for)
    stream = NEW if owner_id is None else loaded.get(owner_id, NEW)
    owner_stream = stream if is_owner_in(organization_id, stream, owner_type) else NEW
    inherited = roles_of(owner_stream.owner) if None in asked else ()
    missing = [name for role in inherited if (name := role_stream(organization_id, role)) not in loaded]
    loaded |= await read(missing) if missing else {}
    held = {role: loaded[role_stream(organization_id, role)].role for role in (*named, *inherited)}
    return Circumstances(
        owner_stream=owner_stream,
        guards={name: stream.version for name, stream in loaded.items()},
        roles={id_: there for id_, role in held.items() if (there := definition_of(role)) is not None},
        unavailable={id_: why for id_ in named if (why := _why_not(held[id_])) is not None},
    )


def _why_not(role: AnyRole) -> str | None:
    """Return why nobody can get a role; None where somebody can."""
    match role:
        case Undefined():
            return "there is no such role"
        case Closed():
            return "the role is being deleted"
        case Defined():
            return None
        case _:
            assert_never(role)


def is_owner_in(organization_id: str, stream: Stream, kind: OwnerType) -> bool:
    """Say whether a stream makes an owner of this kind in this organization."""
    owner = stream.owner
    return isinstance(owner, _OWNER_FORMS[kind]) and owner.organization_id == organization_id


def check_grant(principal: Principal, around: Circumstances, roles: Iterable[str | None]) -> None:
    """Return if the caller may hand out each of the roles; None stands for all that the owner has.

    Raises:
        Problem: ``not-grantable``. Else rotating an administrator's key would be a way to become one.
    """
    effective = [granted for role in roles for granted in ((role,) if role is not None else roles_of(around.owner))]
    beyond = sorted({id_ for id_ in effective if not principal.authority.may_grant(_definition(around, id_))})
    if beyond:
        raise Problem("not-grantable", f"your key's role may not hand out: {', '.join(beyond)}")


def _definition(around: Circumstances, role: str) -> Role:
    """Return a role; one that does not exist counts as one that may do everything: it may be defined as that."""
    return around.roles.get(role) or Role(role, role, frozenset({EVERYTHING}), frozenset())


def check_definition(principal: Principal, before: Role | None, after: Role) -> None:
    """Return if the caller has all that a role gets that it had not before (None: it was not there).

    Raises:
        Problem: ``not-grantable``. Else defining a role would be a way to become an administrator.
    """
    had, authority = before or Role(after.id, after.name, frozenset(), frozenset()), principal.authority
    permissions = [one for one in sorted(after.permissions) if not had.allows(one) and not authority.allows(one)]
    grants = [one for one in sorted(after.grants) if not had.may_pass_on(one) and not authority.may_pass_on(one)]
    beyond = [*permissions, *(f"to grant {grant}" for grant in grants)]
    if beyond:
        raise Problem("not-grantable", f"your key itself has no permission: {', '.join(beyond)}")
