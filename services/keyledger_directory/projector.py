"""The lines of keys and users in the directory: a fold of each one's events. What is secret never gets here."""

from typing import Final, TypeVar, assert_never

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from keyledger.contracts.envelope import Fact, Header
from keyledger.domain.events import (
    Environment,
    KeyCreated,
    KeyDisabled,
    KeyEnabled,
    KeyEvent,
    KeyRevoked,
    KeyRotated,
    KeyRotationFinished,
    KeyType,
    KeyUpdated,
    OrganizationCreated,
    OwnerType,
    RevocationReason,
    RoleClosed,
    RoleDefined,
    RoleDeleted,
    ServiceAccountCreated,
    TeamCreated,
    UserCreated,
    UserDeactivated,
    UserReactivated,
)
from keyledger.domain.identifiers import is_resource_id
from keyledger.domain.keys import changes_of, kept_by
from keyledger.domain.times import microseconds

NAME: Final = "directory"
GENERATION: Final = 7
"""Raise it whenever a row's form or what the fold makes of an event changes: the read model is then built anew."""


class SecretLine(Struct, frozen=True, array_like=True):
    """A secret as lists show it. Times in microseconds since 1970."""

    id: str
    created_at: int
    ends_at: int | None = None


decode_secrets: Final = msgspec.json.Decoder(tuple[SecretLine, ...]).decode
_decode_deactivations: Final = msgspec.json.Decoder(list[tuple[int, int]]).decode


class KeyRow(Struct, frozen=True, kw_only=True):
    """A key as lists show it. Times in microseconds since 1970; ``created_position`` orders all keys ever made.

    ``secrets``: a list of ``SecretLine``, newest first, as JSON. ``metadata``: JSON too.
    """

    organization_id: str
    created_position: int
    type: KeyType
    owner_type: OwnerType
    owner_id: str
    name: str
    description: str
    role: str | None
    environment: Environment
    created_at: int
    created_by_user: str | None
    created_by_key: str | None
    updated_at: int
    secrets: str
    metadata: str
    expires_at: int | None = None
    disabled_at: int | None = None
    revoked_at: int | None = None
    revocation_reason: RevocationReason | None = None
    rotated_at: int | None = None


class UserRow(Struct, frozen=True, kw_only=True):
    """A user, as far as it concerns their keys: those from before ``deactivated_position`` (0: none) are dead.

    ``deactivations``: position and time of each, the oldest first, as JSON: a key died at the first one after it.
    """

    organization_id: str
    deactivated_position: int = 0
    deactivations: str = "[]"


DirectoryRow = KeyRow | UserRow
Kind = TypeVar("Kind", bound=DirectoryRow)


def died_at(deactivations: str, created_position: int) -> int:
    """Return when (in microseconds) a key died that was made before some of its user's ``deactivations``."""
    return next(at for position, at in _decode_deactivations(deactivations) if position > created_position)


class KeyDirectory:
    """The projection of keys and their users, one row each; a revoked key keeps its row."""

    name: Final = NAME
    generation: Final = GENERATION

    def wants(self, stream: str) -> bool:
        return is_resource_id(stream, "key") or is_resource_id(stream, "user")

    def project(self, row: DirectoryRow | None, fact: Fact) -> DirectoryRow:
        event = fact.event
        if isinstance(event, KeyEvent):
            return _project_key(row, fact.header, event)
        match event:
            case UserCreated():
                return UserRow(organization_id=event.organization_id)
            case UserDeactivated():
                header, user = fact.header, _existing(row, UserRow)
                deactivations = [*_decode_deactivations(user.deactivations), (header.position, header.recorded_at)]
                return replace(user, deactivated_position=header.position, deactivations=_json(deactivations))
            case UserReactivated():
                return _existing(row, UserRow)
            case OrganizationCreated() | TeamCreated() | ServiceAccountCreated():
                raise TypeError(f"{type(event).__name__} in the stream of a key or user")
            case RoleDefined() | RoleClosed() | RoleDeleted():
                raise TypeError(f"{type(event).__name__} in the stream of a key or user")
            case _:
                assert_never(event)


def _project_key(row: DirectoryRow | None, header: Header, event: KeyEvent) -> KeyRow:
    match event:
        case KeyCreated():
            return _created(header, event)
        case KeyRotated():
            key = _existing(row, KeyRow)
            kept = kept_by(
                event, decode_secrets(key.secrets), lambda secret, at: replace(secret, ends_at=microseconds(at))
            )
            secrets = [SecretLine(event.secret.id, header.recorded_at), *kept]
            return replace(key, secrets=_json(secrets), rotated_at=header.recorded_at, updated_at=header.recorded_at)
        case KeyRotationFinished():
            key = _existing(row, KeyRow)
            left = [secret for secret in decode_secrets(key.secrets) if secret.id not in event.ended]
            return replace(key, secrets=_json(left), updated_at=header.recorded_at)
        case KeyUpdated():
            changes: dict[str, object] = dict(changes_of(event))
            if "expires_at" in changes:
                changes["expires_at"] = microseconds(event.expires_at or None)
            if "metadata" in changes:
                changes["metadata"] = _json(changes["metadata"])
            return replace(_existing(row, KeyRow), **changes, updated_at=header.recorded_at)
        case KeyDisabled() | KeyEnabled():
            disabled_at = header.recorded_at if isinstance(event, KeyDisabled) else None
            return replace(_existing(row, KeyRow), disabled_at=disabled_at, updated_at=header.recorded_at)
        case KeyRevoked():
            return replace(
                _existing(row, KeyRow),
                revoked_at=header.recorded_at,
                revocation_reason=event.reason,
                updated_at=header.recorded_at,
            )
        case _:
            assert_never(event)


def _created(header: Header, event: KeyCreated) -> KeyRow:
    return KeyRow(
        organization_id=event.organization_id,
        created_position=header.position,
        type=event.type,
        owner_type=event.owner_type,
        owner_id=event.owner_id,
        name=event.name,
        description=event.description,
        role=event.role,
        environment=event.environment,
        created_at=header.recorded_at,
        created_by_user=header.actor_user,
        created_by_key=header.actor_key,
        updated_at=header.recorded_at,
        secrets=_json([SecretLine(event.secret.id, header.recorded_at)]),
        metadata=_json(event.metadata),
        expires_at=microseconds(event.expires_at),
    )


def _json(told: object) -> str:
    return msgspec.json.encode(told).decode()


def _existing(row: DirectoryRow | None, kind: type[Kind]) -> Kind:
    if not isinstance(row, kind):
        raise TypeError("the first event of a key or user must say that it was created")
    return row
