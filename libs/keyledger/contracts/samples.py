"""One sample of every event form that is written today: what ``schemas/samples/`` is filled from, and never purged."""

from datetime import UTC, datetime
from typing import Final

from keyledger.domain.events import (
    Event,
    KeyCreated,
    KeyRevoked,
    KeyRotated,
    KeyUpdated,
    OrganizationCreated,
    RoleDefined,
    Secret,
    SecretEnd,
    ServiceAccountCreated,
    TeamCreated,
    UserCreated,
)

_ORGANIZATION: Final = "org_01hXk3fJ7Qa9cT5vZr2LmN"
_KEY: Final = "key_01hXk3fJ7Qb4dU6wAs3MnP"
_USER: Final = "user_01hXk3fJ7Qc8eV7xBt4NoQ"
_EXPIRY: Final = datetime(2027, 1, 31, 12, 0, tzinfo=UTC)

SAMPLES: Final[tuple[Event, ...]] = (
    OrganizationCreated(organization_id=_ORGANIZATION, name="Example", operator=True),
    RoleDefined(
        organization_id=_ORGANIZATION,
        role="api_manager",
        name="API Manager",
        permissions=("*:read", "api-keys:*", "integrations:*"),
        grants=("viewer", "developer"),
        builtin=True,
    ),
    UserCreated(organization_id=_ORGANIZATION, user_id=_USER, roles=("administrator",)),
    TeamCreated(organization_id=_ORGANIZATION, team_id="team_01hXk3fJ7Qd2fW8yCu5OpR", name="Payments"),
    ServiceAccountCreated(
        organization_id=_ORGANIZATION,
        service_account_id="service_01hXk3fJ7Qe6gX9zDv6PqS",
        name="nightly export",
        description="Writes the reports",
    ),
    KeyCreated(
        organization_id=_ORGANIZATION,
        key_id=_KEY,
        type="personal",
        owner_type="user",
        owner_id=_USER,
        name="laptop",
        description="",
        role="developer",
        environment="dev",
        expires_at=_EXPIRY,
        secret=Secret(id="s1", digest=bytes(range(32)), pepper="0123456789ab"),
    ),
    KeyRotated(
        organization_id=_ORGANIZATION,
        key_id=_KEY,
        secret=Secret(id="s2", digest=bytes(range(32, 64)), pepper="0123456789ab"),
        ended=(SecretEnd(id="s1"),),
    ),
    KeyUpdated(organization_id=_ORGANIZATION, key_id=_KEY, name="old laptop", expires_at=None),
    KeyRevoked(organization_id=_ORGANIZATION, key_id=_KEY),
)
