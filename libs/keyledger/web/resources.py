"""Things as the API shows them: the same form from the ledger (commands) and from a read model (directory)."""

from datetime import datetime
from typing import Any, Final, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from keyledger.domain.events import Environment, KeyType, OwnerType, RevocationReason

KeyStatus = Literal["active", "expired", "disabled", "revoked"]


def key_status(*, revoked: bool, disabled: bool, expires_at: datetime | None, now: datetime) -> KeyStatus:
    """Return what a key is at ``now``. A key is expired from the moment of its expiry on."""
    if revoked:
        return "revoked"
    if disabled:
        return "disabled"
    return "expired" if expires_at is not None and expires_at <= now else "active"


class OwnerReference(BaseModel):
    """Who owns a key."""

    type: OwnerType
    id: str


class ActorReference(BaseModel):
    """Who did it: the user (null: no person stood behind the key) and the key (null: the installation itself)."""

    user: str | None
    key: str | None


class SecretReference(BaseModel):
    """A secret that works, by its id, which the records of attempts name too."""

    id: str
    created_at: AwareDatetime
    ends_at: AwareDatetime | None = Field(description="The end of its grace; null: it has none, it is the newest")


EXAMPLE_KEY: Final[dict[str, Any]] = {
    "id": "key_01hXk3fJ7Qb4dU6wAs3MnP",
    "organization_id": "org_01hXk3fJ7Qa9cT5vZr2LmN",
    "type": "team",
    "owner": {"type": "team", "id": "team_01hXk3fJ7Qd2fW8yCu5OpR"},
    "name": "checkout",
    "description": "Calls the agents of the shop",
    "metadata": {"customer": "acme"},
    "role": "developer",
    "environment": "prod",
    "status": "active",
    "created_at": "2026-11-24T05:47:11.204518Z",
    "created_by": {"user": "user_01hXk3fJ7Qc8eV7xBt4NoQ", "key": "key_01hXk3fJ7Qf7hY0aEw7QrT"},
    "updated_at": "2026-11-24T05:47:11.204518Z",
    "expires_at": "2027-11-24T00:00:00Z",
    "disabled_at": None,
    "revoked_at": None,
    "revocation_reason": None,
    "rotated_at": None,
    "secrets": [{"id": "9f86d081884c7d65", "created_at": "2026-11-24T05:47:11.204518Z", "ends_at": None}],
    "version": 1,
}


class KeyResource(BaseModel):
    """An API key: everything but its secret. Times are RFC 3339 in UTC."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_KEY]})

    id: str
    organization_id: str
    type: KeyType
    owner: OwnerReference
    name: str
    description: str
    metadata: dict[str, Any] = Field(description="What was attached to it; verdicts on it show it too")
    role: str | None = Field(description="null: a personal key with whatever roles its owner has when it is used")
    environment: Environment
    status: KeyStatus
    created_at: AwareDatetime
    created_by: ActorReference
    updated_at: AwareDatetime
    expires_at: AwareDatetime | None
    disabled_at: AwareDatetime | None = Field(description="Since when it is disabled; null: it is not")
    revoked_at: AwareDatetime | None
    revocation_reason: RevocationReason | None
    rotated_at: AwareDatetime | None = Field(description="When it last got a new secret; null: never since its birth")
    secrets: list[SecretReference] = Field(
        description="Those that work, newest first: two while a rotation's grace runs, none of a revoked key"
    )
    version: int = Field(description="Counts the key's changes. It is the ETag, which If-Match is compared with")
