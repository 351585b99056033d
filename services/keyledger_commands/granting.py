"""What a key would be able to do, and whether the caller may hand that out."""

from collections.abc import Iterable

from msgspec import Struct

from keyledger.domain.events import OwnerType
from keyledger.domain.identifiers import is_resource_id, role_stream
from keyledger.domain.people import DeactivatedUser, Nobody, Owner, ServiceAccount, Team, User, roles_of
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem
from keyledger_commands.streams import NEW, Read, Stream

OwnerForm = type[User | DeactivatedUser | Team | ServiceAccount]

OWNER_FORMS: dict[OwnerType, tuple[OwnerForm, ...]] = {
    "user": (User, DeactivatedUser),
    "team": (Team,),
    "service": (ServiceAccount,),
}

OWNER_WORDS: dict[OwnerType, str] = {"user": "user", "team": "team", "service": "service account"}


class Circumstances(Struct, frozen=True, kw_only=True):
    """What a decision about keys or users rests on besides their own stream, and the versions it was read at."""

    owner: Owner
    owner_stream: Stream
    guards: dict[str, int]
    undefined: frozenset[str]
    """Roles that were asked for and do not exist."""


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
    owner = _owner(loaded, owner_id, organization_id, owner_type)
    if None in asked:
        inherited = [role_stream(organization_id, role) for role in roles_of(owner)]
        missing = [stream for stream in inherited if stream not in loaded]
        loaded |= await read(missing) if missing else {}
    return Circumstances(
        owner=owner,
        owner_stream=NEW if isinstance(owner, Nobody) or owner_id is None else loaded[owner_id],
        guards={name: stream.version for name, stream in loaded.items()},
        undefined=frozenset(role for role in named if not loaded[role_stream(organization_id, role)].version),
    )


def _owner(loaded: dict[str, Stream], owner_id: str | None, organization_id: str, owner_type: OwnerType) -> Owner:
    found = loaded[owner_id].owner if owner_id is not None and owner_id in loaded else Nobody()
    if isinstance(found, Nobody) or found.organization_id != organization_id:
        return Nobody()
    return found if isinstance(found, OWNER_FORMS[owner_type]) else Nobody()


def check_grant(principal: Principal, around: Circumstances, roles: Iterable[str | None]) -> None:
    """Return if the caller may hand out each of the roles; None stands for all that the owner has.

    Raises:
        Problem: ``not-grantable``. Else rotating an administrator's key would be a way to become one.
    """
    effective = [granted for role in roles for granted in ((role,) if role is not None else roles_of(around.owner))]
    beyond = sorted({role for role in effective if not principal.may_grant([role])})
    if beyond:
        raise Problem("not-grantable", f"your key's role may not hand out: {', '.join(beyond)}")
