"""One sample of every event form that is written today: what ``schemas/samples/`` is filled from, and never purged."""

from datetime import UTC, datetime
from typing import Final

from keyledger.domain.events import (
    Event,
    KeyCreated,
    KeyDisabled,
    KeyEnabled,
    KeyRevoked,
    KeyRotated,
    KeyRotationFinished,
    KeyUpdated,
    OrganizationCreated,
    RoleClosed,
    RoleDefined,
    RoleDeleted,
    Secret,
    SecretEnd,
    ServiceAccountCreated,
    TeamCreated,
    UserCreated,
    UserDeactivated,
    UserReactivated,
)

ORGANIZATION_ID: Final = "org_01hXk3fJ7Qa9cT5vZr2LmN"
KEY_ID: Final = "key_01hXk3fJ7Qb4dU6wAs3MnP"
USER_ID: Final = "user_01hXk3fJ7Qc8eV7xBt4NoQ"
_EXPIRY: Final = datetime(2027, 1, 31, 12, 0, tzinfo=UTC)

SAMPLES: Final[tuple[Event, ...]] = (
    OrganizationCreated(organization_id=ORGANIZATION_ID, name="Example", operator=True),
    RoleDefined(
        organization_id=ORGANIZATION_ID,
        role="api_manager",
        name="API Manager",
        permissions=("*:read", "api-keys:*", "integrations:*"),
        grants=("viewer", "developer"),
        builtin=True,
    ),
    RoleClosed(organization_id=ORGANIZATION_ID, role="deployer"),
    RoleDeleted(organization_id=ORGANIZATION_ID, role="deployer"),
    UserCreated(organization_id=ORGANIZATION_ID, user_id=USER_ID, roles=("administrator",)),
    UserDeactivated(organization_id=ORGANIZATION_ID, user_id=USER_ID),
    UserReactivated(organization_id=ORGANIZATION_ID, user_id=USER_ID),
    TeamCreated(organization_id=ORGANIZATION_ID, team_id="team_01hXk3fJ7Qd2fW8yCu5OpR", name="Payments"),
    ServiceAccountCreated(
        organization_id=ORGANIZATION_ID,
        service_account_id="service_01hXk3fJ7Qe6gX9zDv6PqS",
        name="nightly export",
        description="Writes the reports",
    ),
    KeyCreated(
        organization_id=ORGANIZATION_ID,
        key_id=KEY_ID,
        type="personal",
        owner_type="user",
        owner_id=USER_ID,
        name="laptop",
        description="",
        role="developer",
        environment="dev",
        expires_at=_EXPIRY,
        secret=Secret(id="s1", digest=bytes(range(32)), pepper="0123456789ab"),
    ),
    KeyRotated(
        organization_id=ORGANIZATION_ID,
        key_id=KEY_ID,
        secret=Secret(id="s2", digest=bytes(range(32, 64)), pepper="0123456789ab"),
        ended=(SecretEnd(id="s1"),),
    ),
    KeyRotationFinished(organization_id=ORGANIZATION_ID, key_id=KEY_ID, ended=("s1",)),
    KeyUpdated(organization_id=ORGANIZATION_ID, key_id=KEY_ID, name="old laptop", expires_at=None),
    KeyDisabled(organization_id=ORGANIZATION_ID, key_id=KEY_ID),
    KeyEnabled(organization_id=ORGANIZATION_ID, key_id=KEY_ID),
    KeyRevoked(organization_id=ORGANIZATION_ID, key_id=KEY_ID),
)
