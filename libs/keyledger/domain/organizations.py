"""Tenants and their roles: what an organization is, and what it has from its first day."""

from typing import assert_never

from msgspec import Struct

from keyledger.domain import people
from keyledger.domain.events import OrganizationCreated, RoleDefined, UserCreated
from keyledger.domain.identifiers import role_stream
from keyledger.domain.people import CreateUser, Nobody
from keyledger.domain.permissions import BUILTIN_ROLES


class Unfounded(Struct, frozen=True):
    """There never was such an organization."""


class Organization(Struct, frozen=True, kw_only=True):
    """A tenant. The operator's own organization sees what belongs to no other."""

    organization_id: str
    name: str
    operator: bool


AnyOrganization = Unfounded | Organization


class FoundOrganization(Struct, frozen=True, kw_only=True):
    """Make an organization with the builtin roles and its first user, an administrator."""

    organization_id: str
    name: str
    operator: bool
    administrator_id: str


class OrganizationExists(Exception):
    """The organization was founded before."""

    def __init__(self, organization_id: str) -> None:
        super().__init__(f"{organization_id} exists already")
        self.organization_id = organization_id


SeedEvent = OrganizationCreated | RoleDefined | UserCreated


def decide(organization: AnyOrganization, command: FoundOrganization) -> list[OrganizationCreated]:
    """Say what happens to the organization's own stream."""
    match organization:
        case Unfounded():
            return [
                OrganizationCreated(
                    organization_id=command.organization_id, name=command.name, operator=command.operator
                ),
            ]
        case Organization():
            raise OrganizationExists(command.organization_id)
        case _:
            assert_never(organization)


def seed(command: FoundOrganization) -> list[tuple[str, SeedEvent]]:
    """Return the first facts of an organization, each with its stream, in an order that never names what is not yet.

    The user is last before any key: until then nobody can act, so that a seeding that was broken off can go on.
    """
    organization = command.organization_id
    administrator = CreateUser(organization_id=organization, user_id=command.administrator_id, roles=("administrator",))
    return [
        *((organization, event) for event in decide(Unfounded(), command)),
        *((role_stream(organization, event.role), event) for event in builtin_roles(organization)),
        *((command.administrator_id, event) for event in _users(administrator)),
    ]


def builtin_roles(organization_id: str) -> list[RoleDefined]:
    """Return the facts that define the built-in roles as this version has them."""
    return [
        RoleDefined(
            organization_id=organization_id,
            role=builtin.role,
            name=builtin.name,
            permissions=builtin.permissions,
            grants=builtin.grants,
            builtin=True,
        )
        for builtin in BUILTIN_ROLES
    ]


def _users(command: CreateUser) -> list[UserCreated]:
    return [event for event in people.decide(Nobody(), command) if isinstance(event, UserCreated)]


def evolve(organization: AnyOrganization, event: OrganizationCreated) -> AnyOrganization:
    """Return the organization after the event."""
    if not isinstance(organization, Unfounded):
        raise TypeError("an organization was founded twice: its stream is out of order")
    return Organization(organization_id=event.organization_id, name=event.name, operator=event.operator)


def fold(events: list[OrganizationCreated]) -> AnyOrganization:
    """Return the organization that these events, all of one stream, make."""
    organization: AnyOrganization = Unfounded()
    for event in events:
        organization = evolve(organization, event)
    return organization
