"""What the directory is asked, and what it answers."""

from datetime import datetime
from typing import Final

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from keyledger.domain.events import Environment, KeyType
from keyledger.domain.times import moment
from keyledger.web.resources import (
    EXAMPLE_KEY,
    ActorReference,
    KeyResource,
    KeyStatus,
    OwnerReference,
    SecretReference,
    key_status,
)
from keyledger_directory.projector import KeyRow, decode_secrets
from keyledger_directory.store import KeyView

READ_REVOKED: Final = "audit:read"
NAME: Final = r"^[A-Za-z0-9_-]+$"
"""What an id or a role's slug is made of. A database may refuse other characters, such as NUL, in its own way."""
EXAMPLE_CURSOR: Final = "q1vZ0m8hT5b2dJ7wXk3LsDE3MzIx"


class NoParameters(BaseModel):
    """A query without parameters: unknown ones are refused, so that a misspelt one does not seem to work."""

    model_config = ConfigDict(extra="forbid")


class KeyQuery(NoParameters):
    """Which keys, and which page of them."""

    type: KeyType | None = Field(default=None, description="Only keys of this type")
    owner_id: str | None = Field(
        default=None, max_length=64, pattern=NAME, description="Only keys of this user, team or service account"
    )
    role: str | None = Field(
        default=None, max_length=64, pattern=NAME, description="Only keys with this role of their own"
    )
    environment: Environment | None = Field(default=None, description="Only keys of this environment")
    status: KeyStatus | None = Field(
        default=None,
        description="Default: all but the revoked. A disabled key is `disabled`, whether or not it has expired. "
        f"`revoked` needs `{READ_REVOKED}`",
    )
    limit: int = Field(default=50, ge=1, le=200, description="The most keys in one page")
    cursor: str | None = Field(
        default=None, max_length=1000, description="The `next_cursor` of the page before, with the same filters"
    )


class KeyPage(BaseModel):
    """A page of keys, newest first. ``next_cursor`` null: there are no more."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"data": [EXAMPLE_KEY], "next_cursor": EXAMPLE_CURSOR}]},
    )

    data: list[KeyResource]
    next_cursor: str | None


def resource(key: KeyView, now: datetime) -> KeyResource:
    """Return the key as the API shows it at ``now``."""
    row = key.row
    expires_at = _moment(row.expires_at)
    return KeyResource(
        id=key.id,
        organization_id=row.organization_id,
        type=row.type,
        owner=OwnerReference(type=row.owner_type, id=row.owner_id),
        name=row.name,
        description=row.description,
        metadata=msgspec.json.decode(row.metadata),
        role=row.role,
        environment=row.environment,
        status=key_status(
            revoked=row.revoked_at is not None, disabled=row.disabled_at is not None, expires_at=expires_at, now=now
        ),
        created_at=moment(row.created_at),
        created_by=ActorReference(user=row.created_by_user, key=row.created_by_key),
        updated_at=moment(row.updated_at),
        expires_at=expires_at,
        disabled_at=_moment(row.disabled_at),
        revoked_at=_moment(row.revoked_at),
        revocation_reason=row.revocation_reason,
        rotated_at=_moment(row.rotated_at),
        secrets=[] if row.revoked_at is not None else _working(row, now),
        version=key.version,
    )


def _working(row: KeyRow, now: datetime) -> list[SecretReference]:
    secrets = [
        SecretReference(id=secret.id, created_at=moment(secret.created_at), ends_at=_moment(secret.ends_at))
        for secret in decode_secrets(row.secrets)
    ]
    return [secret for secret in secrets if secret.ends_at is None or now < secret.ends_at]


def _moment(microseconds: int | None) -> datetime | None:
    return None if microseconds is None else moment(microseconds)
