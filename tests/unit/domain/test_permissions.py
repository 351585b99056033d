"""Who may do what, in sentences."""

import pytest

from keyledger.domain.permissions import BUILTIN_ROLES, Authority, Role

ROLES = {
    builtin.role: Role(builtin.name, frozenset(builtin.permissions), frozenset(builtin.grants))
    for builtin in BUILTIN_ROLES
}


@pytest.mark.parametrize("pattern", ["agents:read", "agents:*", "*:read", "*:*"])
def test_a_star_stands_for_anything_on_either_side(pattern: str) -> None:
    assert Role("r", frozenset({pattern}), frozenset()).allows("agents:read")


@pytest.mark.parametrize("pattern", ["agents:update", "users:*", "*:update", "agents", "*"])
def test_what_is_not_named_is_not_allowed(pattern: str) -> None:
    assert not Role("r", frozenset({pattern}), frozenset()).allows("agents:read")


def test_an_api_manager_hands_out_viewer_and_developer_and_nothing_more() -> None:
    manager = ROLES["api_manager"]
    assert [role for role in ROLES if manager.may_grant(role)] == ["viewer", "developer"]


def test_an_administrator_hands_out_everything() -> None:
    assert all(ROLES["administrator"].may_grant(role) for role in [*ROLES, "custom"])


@pytest.mark.parametrize("role", ["viewer", "developer"])
def test_viewers_and_developers_hand_out_nothing_and_manage_no_keys(role: str) -> None:
    assert not any(ROLES[role].may_grant(other) for other in ROLES)
    assert not any(ROLES[role].allows(f"api-keys:{action}") for action in ("create", "update", "rotate", "revoke"))


def test_a_key_with_a_role_of_its_own_never_exceeds_its_owner() -> None:
    both = Authority(((ROLES["administrator"],), (ROLES["viewer"],)))
    assert both.allows("users:read")
    assert not both.allows("users:create")
    assert not both.may_grant(["viewer"])


def test_one_role_of_a_layer_is_enough() -> None:
    assert Authority(((ROLES["viewer"], ROLES["api_manager"]),)).allows("api-keys:create")


def test_a_layer_without_roles_agrees_to_nothing() -> None:
    assert not Authority(((),)).allows("users:read")
    assert not Authority(((), (ROLES["administrator"],))).may_grant(["viewer"])
