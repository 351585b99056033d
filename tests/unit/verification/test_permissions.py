from hypothesis import given
from hypothesis import strategies as st

from keyledger.domain.permissions import Authority, Role
from keyledger.verification.joining import permissions_of

RESOURCES, ACTIONS = ["agents", "api-keys", "users"], ["read", "create", "update"]
patterns = st.builds("{}:{}".format, st.sampled_from([*RESOURCES, "*"]), st.sampled_from([*ACTIONS, "*"]))
roles = st.builds(lambda held: Role("r", "a role", held, frozenset()), st.frozensets(patterns, max_size=4))
layers = st.lists(roles, max_size=3).map(tuple)
authorities = st.lists(layers, min_size=1, max_size=3).map(lambda made: Authority(tuple(made)))


@given(authorities)
def test_the_listed_permissions_allow_exactly_what_the_authority_does(authority: Authority) -> None:
    listed = Role("l", "listed", frozenset(permissions_of(authority)), frozenset())
    for permission in (f"{resource}:{action}" for resource in RESOURCES for action in ACTIONS):
        assert listed.allows(permission) == authority.allows(permission)


@given(authorities)
def test_no_listed_permission_is_contained_in_another(authority: Authority) -> None:
    listed = permissions_of(authority)
    for permission in listed:
        others = Role("o", "others", frozenset(listed) - {permission}, frozenset())
        assert not others.allows(permission)
    assert list(listed) == sorted(listed)
