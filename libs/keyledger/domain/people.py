"""Who can own keys: users, teams and service accounts."""

from typing import TypeVar, assert_never

from msgspec import Struct

from keyledger.domain.events import (
    OwnerEvent,
    ServiceAccountCreated,
    TeamCreated,
    UserCreated,
    UserDeactivated,
    UserReactivated,
)


class Nobody(Struct, frozen=True):
    """There never was such an owner."""


class User(Struct, frozen=True, kw_only=True):
    """A person, by an opaque id, and the roles they have."""

    organization_id: str
    user_id: str
    roles: tuple[str, ...]


class DeactivatedUser(Struct, frozen=True):
    """A user who may do nothing, as they were before. Whoever reactivates them gives ``last.roles`` back."""

    last: User

    @property
    def organization_id(self) -> str:
        """The user's organization."""
        return self.last.organization_id


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


Form = TypeVar("Form", bound=Struct)
Owner = Nobody | User | DeactivatedUser | Team | ServiceAccount


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


class DeactivateUser(Struct, frozen=True):
    """Take everything from a user. ``by``: the user who asks for it; None where no person does."""

    user_id: str
    by: str | None


class ReactivateUser(Struct, frozen=True):
    """Give a user their roles again."""

    user_id: str


OwnerCreation = CreateUser | CreateTeam | CreateServiceAccount
OwnerCommand = OwnerCreation | DeactivateUser | ReactivateUser


class UserNotFound(Exception):
    """No such user."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"there is no user {user_id}")
        self.user_id = user_id


class SelfDeactivation(Exception):
    """Nobody deactivates themselves: so whoever deactivates others stays, and can undo it."""

    def __init__(self, user_id: str) -> None:
        super().__init__(f"{user_id} cannot deactivate themselves")
        self.user_id = user_id


class OwnerRefused(Exception):
    """A command that cannot be carried out as it is. ``field`` names what to change."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field, self.why = field, why


def decide(owner: Owner, command: OwnerCommand) -> list[OwnerEvent]:
    """Say what happens. A command that would change nothing has no event."""
    match command:
        case CreateUser() | CreateTeam() | CreateServiceAccount():
            if not isinstance(owner, Nobody):
                raise OwnerRefused("id", "exists already")
            return [_creation(command)]
        case DeactivateUser():
            return _deactivation(owner, command)
        case ReactivateUser():
            return _reactivation(owner, command)
        case _:
            assert_never(command)


def _deactivation(owner: Owner, command: DeactivateUser) -> list[OwnerEvent]:
    match owner:
        case User() if command.by == owner.user_id:
            raise SelfDeactivation(owner.user_id)
        case User():
            return [UserDeactivated(organization_id=owner.organization_id, user_id=owner.user_id)]
        case DeactivatedUser():
            return []
        case Nobody() | Team() | ServiceAccount():
            raise UserNotFound(command.user_id)
        case _:
            assert_never(owner)


def _reactivation(owner: Owner, command: ReactivateUser) -> list[OwnerEvent]:
    match owner:
        case DeactivatedUser(last=user):
            return [UserReactivated(organization_id=user.organization_id, user_id=user.user_id)]
        case User():
            return []
        case Nobody() | Team() | ServiceAccount():
            raise UserNotFound(command.user_id)
        case _:
            assert_never(owner)


def _creation(command: OwnerCreation) -> OwnerEvent:
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
    match event:
        case UserCreated():
            _must_be(owner, Nobody, event)
            return User(organization_id=event.organization_id, user_id=event.user_id, roles=event.roles)
        case UserDeactivated():
            return DeactivatedUser(_must_be(owner, User, event))
        case UserReactivated():
            return _must_be(owner, DeactivatedUser, event).last
        case TeamCreated():
            _must_be(owner, Nobody, event)
            return Team(organization_id=event.organization_id, team_id=event.team_id, name=event.name)
        case ServiceAccountCreated():
            _must_be(owner, Nobody, event)
            return ServiceAccount(
                organization_id=event.organization_id,
                service_account_id=event.service_account_id,
                name=event.name,
                description=event.description,
            )
        case _:
            assert_never(event)


def _must_be(owner: Owner, form: type[Form], event: OwnerEvent) -> Form:
    if not isinstance(owner, form):
        raise TypeError(f"{type(event).__name__} on {type(owner).__name__}: its stream is out of order")
    return owner


def fold(events: list[OwnerEvent]) -> Owner:
    """Return the owner that these events, all of one stream, make."""
    owner: Owner = Nobody()
    for event in events:
        owner = evolve(owner, event)
    return owner


def roles_of(owner: Owner) -> tuple[str, ...]:
    """Return the roles that an owner has of its own: only users have any, and only while they are active."""
    return owner.roles if isinstance(owner, User) else ()
