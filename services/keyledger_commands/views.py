"""What the ledger's facts look like over HTTP."""

from datetime import datetime
from typing import Any, Final, Literal, assert_never

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from keyledger.contracts.envelope import Header
from keyledger.domain.events import KeyCreated, KeyRotated
from keyledger.domain.keys import Absent, Active, Revoked
from keyledger.domain.people import DeactivatedUser, Nobody, Owner, ServiceAccount, Team, User
from keyledger.domain.roles import Closed, Defined, Undefined
from keyledger.domain.times import moment
from keyledger.eventstore.port import Profile
from keyledger.web.resources import (
    EXAMPLE_KEY,
    ActorReference,
    KeyResource,
    OwnerReference,
    SecretReference,
    key_status,
)
from keyledger_commands.streams import Stream

_TOKEN: Final = "kl_prod_01hXk3fJ7Qb4dU6wAs3MnP_<27 digits of secret><6 of check sum>"  # noqa: S105 - an example


_EXAMPLE_ROLE: Final[dict[str, Any]] = {
    "id": "deployer",
    "organization_id": "org_01hXk3fJ7Qa9cT5vZr2LmN",
    "name": "Deployer",
    "permissions": ["agents:*", "deployments:create"],
    "grants": [],
    "builtin": False,
    "status": "active",
    "created_at": "2026-11-24T05:47:11.204518Z",
    "updated_at": "2026-11-24T05:47:11.204518Z",
    "version": 1,
}


class IssuedKey(KeyResource):
    """An API key with its token. A replayed answer has no ``key``: the secret is shown once and is not kept."""

    model_config = ConfigDict(json_schema_extra={"examples": [{**EXAMPLE_KEY, "key": _TOKEN}]})

    key: str | None = Field(default=None, description="The token. Keep it: it is in this answer only")
    key_hint: str | None = Field(default=None, description="In a replayed answer: how to get a new secret")


UserStatus = Literal["active", "deactivated"]


class UserResource(BaseModel):
    """A user. ``name`` and ``email`` are null once they are erased. A deactivated one's ``roles`` wait."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "user_01hXk3fJ7Qc8eV7xBt4NoQ",
                    "organization_id": "org_01hXk3fJ7Qa9cT5vZr2LmN",
                    "name": "Ada Lovelace",
                    "email": "ada@example.com",
                    "roles": ["developer"],
                    "status": "active",
                    "created_at": "2026-11-24T05:47:11.204518Z",
                    "deactivated_at": None,
                    "version": 1,
                }
            ]
        }
    )

    id: str
    organization_id: str
    name: str | None
    email: str | None
    roles: list[str]
    status: UserStatus
    created_at: AwareDatetime
    deactivated_at: AwareDatetime | None = Field(description="Since when it is deactivated; null: it is active")
    version: int


class TeamResource(BaseModel):
    """A team, which may own keys."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "team_01hXk3fJ7Qd2fW8yCu5OpR",
                    "organization_id": "org_01hXk3fJ7Qa9cT5vZr2LmN",
                    "name": "Payments",
                    "created_at": "2026-11-24T05:47:11.204518Z",
                    "version": 1,
                }
            ]
        }
    )

    id: str
    organization_id: str
    name: str
    created_at: AwareDatetime
    version: int


class ServiceAccountResource(BaseModel):
    """A service account: the owner of keys that no person holds."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "service_01hXk3fJ7Qe6gX9zDv6PqS",
                    "organization_id": "org_01hXk3fJ7Qa9cT5vZr2LmN",
                    "name": "nightly export",
                    "description": "Writes the reports",
                    "created_at": "2026-11-24T05:47:11.204518Z",
                    "version": 1,
                }
            ]
        }
    )

    id: str
    organization_id: str
    name: str
    description: str
    created_at: AwareDatetime
    version: int


RoleStatus = Literal["active", "closed"]


class RoleResource(BaseModel):
    """A role: what its holder may do, and which roles they may hand out. Built-in ones stay as they are."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE_ROLE]})

    id: str
    organization_id: str
    name: str
    permissions: list[str]
    grants: list[str]
    builtin: bool
    status: RoleStatus = Field(
        description="`closed`: a deletion was begun and not finished, so nobody gets the role. Delete it again to "
        "finish, or change it to open it again"
    )
    created_at: AwareDatetime
    updated_at: AwareDatetime
    version: int


class RolePage(BaseModel):
    """A page of roles, in the order of their ids. ``next_cursor`` null: there are no more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [_EXAMPLE_ROLE], "next_cursor": None}]})

    data: list[RoleResource]
    next_cursor: str | None


def key_fields(stream: Stream, now: datetime) -> dict[str, Any]:
    """Return the fields of ``KeyResource`` for a key's stream as it was at the stream's version."""
    key = stream.key
    match key:
        case Absent():
            raise LookupError("a key without a stream has no form")
        case Active():
            known = key
        case Revoked():
            known = key.last
        case _:
            assert_never(key)
    first, last = stream.facts[0].header, stream.facts[-1].header
    born = {
        fact.event.secret.id: moment(fact.header.recorded_at)
        for fact in stream.facts
        if isinstance(fact.event, KeyCreated | KeyRotated)
    }
    rotated = _last(stream, "KeyRotated")
    revoked = _last(stream, "KeyRevoked")
    disabled = _last(stream, "KeyDisabled") if known.disabled else None
    return {
        "id": known.key_id,
        "organization_id": known.organization_id,
        "type": known.type,
        "owner": OwnerReference(type=known.owner_type, id=known.owner_id),
        "name": known.name,
        "description": known.description,
        "metadata": known.metadata,
        "role": known.role,
        "environment": known.environment,
        "status": key_status(
            revoked=revoked is not None, disabled=known.disabled, expires_at=known.expires_at, now=now
        ),
        "created_at": moment(first.recorded_at),
        "created_by": ActorReference(user=first.actor_user, key=first.actor_key),
        "updated_at": moment(last.recorded_at),
        "expires_at": known.expires_at,
        "disabled_at": None if disabled is None else moment(disabled.recorded_at),
        "revoked_at": None if revoked is None else moment(revoked.recorded_at),
        "revocation_reason": key.reason if isinstance(key, Revoked) else None,
        "rotated_at": None if rotated is None else moment(rotated.recorded_at),
        "secrets": [
            SecretReference(id=live.id, created_at=born[live.id], ends_at=live.ends_at)
            for live in (key.secrets if isinstance(key, Active) else ())
            if live.works_at(now)
        ],
        "version": stream.version,
    }


def _last(stream: Stream, event_type: str) -> Header | None:
    return next((fact.header for fact in reversed(stream.facts) if fact.header.type == event_type), None)


def owner_resource(owner: Owner, stream: Stream, profile: Profile | None) -> BaseModel:
    """Return the form of a user, team or service account. ``profile`` is a user's; None where it is erased."""
    created_at = moment(stream.facts[0].header.recorded_at)
    match owner:
        case User():
            return _user(owner, stream, profile, "active")
        case DeactivatedUser(last=user):
            return _user(user, stream, profile, "deactivated")
        case Team():
            return TeamResource(
                id=owner.team_id,
                organization_id=owner.organization_id,
                name=owner.name,
                created_at=created_at,
                version=stream.version,
            )
        case ServiceAccount():
            return ServiceAccountResource(
                id=owner.service_account_id,
                organization_id=owner.organization_id,
                name=owner.name,
                description=owner.description,
                created_at=created_at,
                version=stream.version,
            )
        case Nobody():
            raise LookupError("an owner without a stream has no form")
        case _:
            assert_never(owner)


def _user(user: User, stream: Stream, profile: Profile | None, status: UserStatus) -> UserResource:
    ended = _last(stream, "UserDeactivated") if status == "deactivated" else None
    return UserResource(
        id=user.user_id,
        organization_id=user.organization_id,
        name=None if profile is None else profile.name,
        email=None if profile is None else profile.email,
        roles=list(user.roles),
        status=status,
        created_at=moment(stream.facts[0].header.recorded_at),
        deactivated_at=None if ended is None else moment(ended.recorded_at),
        version=stream.version,
    )


def role_resource(stream: Stream) -> RoleResource:
    """Return the form of a role."""
    role = stream.role
    match role:
        case Defined():
            return _role(role, stream, "active")
        case Closed(last=last):
            return _role(last, stream, "closed")
        case Undefined():
            raise LookupError("a role that is not there has no form")
        case _:
            assert_never(role)


def _role(role: Defined, stream: Stream, status: RoleStatus) -> RoleResource:
    definition, life = role.definition, stream.life_of_role
    return RoleResource(
        id=definition.id,
        organization_id=role.organization_id,
        name=definition.name,
        permissions=sorted(definition.permissions),
        grants=sorted(definition.grants),
        builtin=role.builtin,
        status=status,
        created_at=moment(life[0].header.recorded_at),
        updated_at=moment(life[-1].header.recorded_at),
        version=stream.version,
    )
