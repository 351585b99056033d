"""The facts. Each is past tense and immutable; when it happened and who did it stand in its envelope.

A new field needs a default (additive). Any other change makes a new schema version by an upcaster in the registry.
"""

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

Environment = Literal["dev", "staging", "prod"]
KeyType = Literal["personal", "team", "service"]
OwnerType = Literal["user", "team", "service"]
Activation = Literal["now", "first-use"]
RevocationReason = Literal["unspecified", "leaked", "superseded", "no_longer_needed", "owner_deactivated"]
Moment = Annotated[datetime, Meta(tz=True)]
"""A time that says where it is from: on the wire RFC 3339 with an offset."""


class Secret(Struct, frozen=True, kw_only=True):
    """One secret of a key, as what is kept of it: a digest that names the master its pepper came from."""

    id: str
    digest: bytes
    pepper: str
    activates: Activation = "now"


class SecretEnd(Struct, frozen=True, kw_only=True):
    """An older secret and when it stops to work: at once (None), or at the end of its grace."""

    id: str
    ends_at: Moment | None = None


class OrganizationCreated(Struct, frozen=True, kw_only=True):
    """A tenant came to be. The operator's own organization sees what belongs to no other."""

    organization_id: str
    name: str
    operator: bool = False


class RoleDefined(Struct, frozen=True, kw_only=True):
    """A role allows ``permissions`` (``resource:action``, ``*`` on either side) and may hand out ``grants``."""

    organization_id: str
    role: str
    name: str
    permissions: tuple[str, ...]
    grants: tuple[str, ...]
    builtin: bool = False


class RoleClosed(Struct, frozen=True, kw_only=True):
    """A role is being deleted: whoever has it keeps it, and nobody gets it until it is defined anew."""

    organization_id: str
    role: str


class RoleDeleted(Struct, frozen=True, kw_only=True):
    """A closed role that nobody had is no more. Another may be defined under its id."""

    organization_id: str
    role: str


class UserCreated(Struct, frozen=True, kw_only=True):
    """A user, by an opaque id: people's names and addresses stand in the erasable profiles, never here."""

    organization_id: str
    user_id: str
    roles: tuple[str, ...]


class UserDeactivated(Struct, frozen=True, kw_only=True):
    """A user may do nothing any more, and every personal key that they had until here is dead, for ever."""

    organization_id: str
    user_id: str


class UserReactivated(Struct, frozen=True, kw_only=True):
    """A user has their roles again. None of their earlier keys comes back."""

    organization_id: str
    user_id: str


class TeamCreated(Struct, frozen=True, kw_only=True):
    """A team, which may own keys."""

    organization_id: str
    team_id: str
    name: str


class ServiceAccountCreated(Struct, frozen=True, kw_only=True):
    """A service account: the owner of keys that no person holds."""

    organization_id: str
    service_account_id: str
    name: str
    description: str = ""


class KeyCreated(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A key with its first secret. Without a role it has its owner's, whatever that is at the moment of use."""

    organization_id: str
    key_id: str
    type: KeyType
    owner_type: OwnerType
    owner_id: str
    name: str
    description: str
    role: str | None
    environment: Environment
    expires_at: Moment | None
    secret: Secret
    metadata: dict[str, Any] = {}


class KeyRotated(Struct, frozen=True, kw_only=True):
    """A key has a new secret; ``ended`` says what becomes of the older ones."""

    organization_id: str
    key_id: str
    secret: Secret
    ended: tuple[SecretEnd, ...]


class KeyRotationFinished(Struct, frozen=True, kw_only=True):
    """What was left of a rotation's grace is over: the secrets ``ended`` (their ids) stopped to work."""

    organization_id: str
    key_id: str
    ended: tuple[str, ...]


class KeyUpdated(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Some of a key's properties changed; what is absent stayed as it was. ``metadata`` is all of it, as it is now."""

    organization_id: str
    key_id: str
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    role: str | UnsetType | None = UNSET
    expires_at: Moment | UnsetType | None = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET


class KeyDisabled(Struct, frozen=True, kw_only=True):
    """A key is refused until it is enabled again."""

    organization_id: str
    key_id: str


class KeyEnabled(Struct, frozen=True, kw_only=True):
    """A key that was disabled works again."""

    organization_id: str
    key_id: str


class KeyRevoked(Struct, frozen=True, kw_only=True):
    """A key is over, for ever."""

    organization_id: str
    key_id: str
    reason: RevocationReason = "unspecified"


KeyEvent = KeyCreated | KeyRotated | KeyRotationFinished | KeyUpdated | KeyDisabled | KeyEnabled | KeyRevoked
RoleEvent = RoleDefined | RoleClosed | RoleDeleted
OwnerEvent = UserCreated | UserDeactivated | UserReactivated | TeamCreated | ServiceAccountCreated
Event = OrganizationCreated | RoleEvent | OwnerEvent | KeyEvent
