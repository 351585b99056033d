"""Who may do what, in sentences."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyledger.contracts.routes import ROUTES
from keyledger.domain.permissions import BUILTIN_ROLES, OWN_RESOURCES, UNPRIVILEGED, Authority, Role

ROLES = {
    builtin.role: Role(builtin.role, builtin.name, frozenset(builtin.permissions), frozenset(builtin.grants))
    for builtin in BUILTIN_ROLES
}


@pytest.mark.parametrize("pattern", ["agents:read", "agents:*", "*:read", "*:*"])
def test_a_star_stands_for_anything_on_either_side(pattern: str) -> None:
    assert Role("r", "R", frozenset({pattern}), frozenset()).allows("agents:read")


@pytest.mark.parametrize("pattern", ["agents:update", "users:*", "*:update", "agents", "*"])
def test_what_is_not_named_is_not_allowed(pattern: str) -> None:
    assert not Role("r", "R", frozenset({pattern}), frozenset()).allows("agents:read")


def custom(*permissions: str, grants: Iterable[str] = ()) -> Role:
    return Role("custom", "Custom", frozenset(permissions), frozenset(grants))


def test_an_api_manager_hands_out_viewer_and_developer_of_the_builtin_roles() -> None:
    manager = ROLES["api_manager"]
    assert [id_ for id_, role in ROLES.items() if manager.may_grant(role)] == ["viewer", "developer"]


@pytest.mark.parametrize("permissions", [(), ("agents:*",), ("*:read",), ("api-keys:read", "deployments:delete")])
def test_an_api_manager_hands_out_custom_roles_that_manage_nothing(permissions: tuple[str, ...]) -> None:
    assert ROLES["api_manager"].may_grant(custom(*permissions))


@pytest.mark.parametrize(
    "role",
    [
        *(custom(permission) for permission in ("*:*", "*:create", "api-keys:*", "users:create", "verifiers:follow")),
        custom("agents:read", grants=["viewer"]),
        custom("agents:read", grants=["*"]),
    ],
)
def test_an_api_manager_hands_out_no_custom_role_that_manages_keys_or_people(role: Role) -> None:
    assert not ROLES["api_manager"].may_grant(role)


def test_an_administrator_hands_out_everything() -> None:
    assert all(ROLES["administrator"].may_grant(role) for role in [*ROLES.values(), custom("*:*", grants=["*"])])


@pytest.mark.parametrize("role", ["viewer", "developer"])
def test_viewers_and_developers_hand_out_nothing_and_manage_no_keys(role: str) -> None:
    assert not any(ROLES[role].may_grant(other) for other in [*ROLES.values(), custom()])
    assert not any(ROLES[role].allows(f"api-keys:{action}") for action in ("create", "update", "rotate", "revoke"))


def test_a_key_with_a_role_of_its_own_never_exceeds_its_owner() -> None:
    both = Authority(((ROLES["administrator"],), (ROLES["viewer"],)))
    assert both.allows("users:read")
    assert not both.allows("users:create")
    assert not both.may_grant(ROLES["viewer"])
    assert not both.may_pass_on("viewer")


def test_who_has_a_grant_may_pass_it_on_and_no_other() -> None:
    manager = Authority(((ROLES["api_manager"],),))
    assert [one for one in ("viewer", UNPRIVILEGED, "administrator", "custom", "*") if manager.may_pass_on(one)] == [
        "viewer",
        UNPRIVILEGED,
    ]
    assert Authority(((ROLES["administrator"],),)).may_pass_on("*")


RESOURCES, ACTIONS = ["agents", "api-keys", "users"], ["read", "create"]
concrete = [f"{resource}:{action}" for resource in [*RESOURCES, "unheard-of"] for action in [*ACTIONS, "unheard-of"]]
patterns = st.builds("{}:{}".format, st.sampled_from([*RESOURCES, "*"]), st.sampled_from([*ACTIONS, "*"]))
roles = st.builds(
    lambda held, grants: Role("r", "R", held, grants),
    st.frozensets(patterns, max_size=5),
    st.frozensets(st.sampled_from(["viewer"]), max_size=1),
)


@given(st.lists(st.lists(roles, max_size=2).map(tuple), min_size=1, max_size=3), patterns)
def test_a_pattern_is_allowed_if_all_that_it_stands_for_is(layers: list[tuple[Role, ...]], pattern: str) -> None:
    authority, asked = Authority(tuple(layers)), Role("a", "asked", frozenset({pattern}), frozenset())
    stands_for = [permission for permission in concrete if asked.allows(permission)]
    assert authority.allows(pattern) == all(authority.allows(permission) for permission in stands_for)


@given(roles)
def test_an_unprivileged_role_hands_out_nothing_and_only_reads_what_is_keyledgers(role: Role) -> None:
    manages = any(role.allows(f"{own}:{action}") for own in OWN_RESOURCES for action in ("create", "unheard-of"))
    assert role.unprivileged == (not manages and not role.grants)


def test_keyledgers_own_resources_are_those_of_its_routes_and_others() -> None:
    assert {route.permission.partition(":")[0] for route in ROUTES if route.permission} <= OWN_RESOURCES


def test_one_role_of_a_layer_is_enough() -> None:
    assert Authority(((ROLES["viewer"], ROLES["api_manager"]),)).allows("api-keys:create")


def test_a_layer_without_roles_agrees_to_nothing() -> None:
    assert not Authority(((),)).allows("users:read")
    assert not Authority(((), (ROLES["administrator"],))).may_grant(ROLES["viewer"])
