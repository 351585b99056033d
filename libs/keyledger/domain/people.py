"""Who can own keys: users, teams and service accounts."""

from typing import assert_never

from msgspec import Struct

from keyledger.domain.events import OwnerEvent, ServiceAccountCreated, TeamCreated, UserCreated


class Nobody(Struct, frozen=True):
    """There never was such an owner."""


class User(Struct, frozen=True, kw_only=True):
    """A person, by an opaque id, and the roles they have."""

    organization_id: str
    user_id: str
    roles: tuple[str, ...]


class Team(Struct, frozen=True, kw_only=True):
    """A group that owns keys together."""

    organization_id: str
    team_id: str
    name: str


class ServiceAccount(Struct, frozen=True, kw_only=True):
    """The owner of keys that no person holds."""

    organization_id: str
    service_account_id: str
    name: str
    description: str


Owner = Nobody | User | Team | ServiceAccount


class CreateUser(Struct, frozen=True, kw_only=True):
    """Make a user. The name and address go into the erasable profile, never into an event."""

    organization_id: str
    user_id: str
    roles: tuple[str, ...]


class CreateTeam(Struct, frozen=True, kw_only=True):
    """Make a team."""

    organization_id: str
    team_id: str
    name: str


class CreateServiceAccount(Struct, frozen=True, kw_only=True):
    """Make a service account."""

    organization_id: str
    service_account_id: str
    name: str
    description: str


OwnerCommand = CreateUser | CreateTeam | CreateServiceAccount


class OwnerRefused(Exception):
    """A command that cannot be carried out as it is. ``field`` names what to change."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field, self.why = field, why


def decide(owner: Owner, command: OwnerCommand) -> list[OwnerEvent]:
    """Say what happens."""
    match owner:
        case Nobody():
            return [_creation(command)]
        case User() | Team() | ServiceAccount():
            raise OwnerRefused("id", "exists already")
        case _:
            assert_never(owner)


def _creation(command: OwnerCommand) -> OwnerEvent:
    match command:
        case CreateUser():
            if not command.roles:
                raise OwnerRefused("roles", "a user has at least one role")
            return UserCreated(
                organization_id=command.organization_id,
                user_id=command.user_id,
                roles=tuple(dict.fromkeys(command.roles)),
            )
        case CreateTeam():
            return TeamCreated(organization_id=command.organization_id, team_id=command.team_id, name=command.name)
        case CreateServiceAccount():
            return ServiceAccountCreated(
                organization_id=command.organization_id,
                service_account_id=command.service_account_id,
                name=command.name,
                description=command.description,
            )
        case _:
            assert_never(command)


def evolve(owner: Owner, event: OwnerEvent) -> Owner:
    """Return the owner after the event."""
    if not isinstance(owner, Nobody):
        raise TypeError(f"{type(event).__name__} on an owner that is there already: its stream is out of order")
    match event:
        case UserCreated():
            return User(organization_id=event.organization_id, user_id=event.user_id, roles=event.roles)
        case TeamCreated():
            return Team(organization_id=event.organization_id, team_id=event.team_id, name=event.name)
        case ServiceAccountCreated():
            return ServiceAccount(
                organization_id=event.organization_id,
                service_account_id=event.service_account_id,
                name=event.name,
                description=event.description,
            )
        case _:
            assert_never(event)


def fold(events: list[OwnerEvent]) -> Owner:
    """Return the owner that these events, all of one stream, make."""
    owner: Owner = Nobody()
    for event in events:
        owner = evolve(owner, event)
    return owner


def roles_of(owner: Owner) -> tuple[str, ...]:
    """Return the roles an owner has of its own: only users have any."""
    return owner.roles if isinstance(owner, User) else ()
