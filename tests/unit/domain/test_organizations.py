"""Tenants and what they have from their first day, in sentences."""

import pytest

from keyledger.domain.events import OrganizationCreated, RoleDefined, UserCreated
from keyledger.domain.organizations import (
    AnyOrganization,
    FoundOrganization,
    Organization,
    OrganizationExists,
    Unfounded,
    decide,
    evolve,
    fold,
    seed,
)
from keyledger.domain.permissions import BUILTIN_ROLES
from keyledger.testing.given import Decider

FOUND = FoundOrganization(organization_id="org_a", name="Example", operator=True, administrator_id="user_a")
FOUNDED = OrganizationCreated(organization_id="org_a", name="Example", operator=True)

organizations: Decider[AnyOrganization, FoundOrganization, OrganizationCreated] = Decider(
    initial=Unfounded(), decide=decide, evolve=evolve
)


def test_an_organization_is_founded_once() -> None:
    organizations.given().when(FOUND).then(FOUNDED)
    organizations.given(FOUNDED).when(FOUND).then_refused(OrganizationExists, organization_id="org_a")
    with pytest.raises(TypeError, match="out of order"):
        fold([FOUNDED, FOUNDED])


def test_who_operates_the_installation_is_known_of_its_organization() -> None:
    assert fold([FOUNDED]) == Organization(organization_id="org_a", name="Example", operator=True)


def test_a_new_organization_has_the_builtin_roles_and_an_administrator() -> None:
    streams, events = zip(*seed(FOUND), strict=True)
    assert streams[0] == "org_a"
    assert [type(event) for event in events] == [OrganizationCreated, *[RoleDefined] * 4, UserCreated]
    assert streams[1:5] == tuple(f"org_a/role/{builtin.role}" for builtin in BUILTIN_ROLES)
    assert events[-1] == UserCreated(organization_id="org_a", user_id="user_a", roles=("administrator",))


def test_a_seed_names_nothing_before_it_is_there() -> None:
    roles: set[str] = set()
    for _, event in seed(FOUND):
        if isinstance(event, RoleDefined):
            roles.add(event.role)
        if isinstance(event, UserCreated):
            assert roles.issuperset(event.roles)
