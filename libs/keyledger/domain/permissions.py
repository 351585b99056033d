"""Who may do what: roles as predicates, evaluated when asked and never expanded into lists."""

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

ANY: Final = "*"


class Role(Struct, frozen=True):
    """What its holder may do (``resource:action``, ``*`` on either side), and which roles the holder may hand out."""

    name: str
    permissions: frozenset[str]
    grants: frozenset[str]

    def allows(self, permission: str) -> bool:
        """Say whether the role contains ``resource:action``."""
        resource, _, action = permission.partition(":")
        return not self.permissions.isdisjoint((permission, f"{resource}:{ANY}", f"{ANY}:{action}", f"{ANY}:{ANY}"))

    def may_grant(self, role: str) -> bool:
        """Say whether the role's holder may hand out ``role`` (a role's id)."""
        return role in self.grants or ANY in self.grants


class Authority(Struct, frozen=True):
    """What a key may do. Each layer is a set of roles of which one must agree; all layers must agree.

    A personal key with a role of its own has two layers, its own and its owner's: it never exceeds its owner.
    A layer without roles agrees to nothing, and neither does an authority without layers.
    """

    layers: tuple[tuple[Role, ...], ...]

    def allows(self, permission: str) -> bool:
        """Say whether every layer allows ``resource:action``."""
        return bool(self.layers) and all(any(role.allows(permission) for role in layer) for layer in self.layers)

    def may_grant(self, roles: Iterable[str]) -> bool:
        """Say whether every layer may hand out each of the roles."""
        asked = tuple(roles)
        return bool(self.layers) and all(
            any(role.may_grant(one) for role in layer) for layer in self.layers for one in asked
        )


class BuiltinRole(Struct, frozen=True):
    """A role that every organization has from its first day."""

    role: str
    name: str
    permissions: tuple[str, ...]
    grants: tuple[str, ...]


BUILTIN_ROLES: Final = (
    BuiltinRole("viewer", "Viewer", ("*:read",), ()),
    BuiltinRole("developer", "Developer", ("*:read", "agents:create", "agents:update"), ()),
    BuiltinRole("administrator", "Administrator", ("*:*",), ("*",)),
    BuiltinRole("api_manager", "API Manager", ("*:read", "api-keys:*", "integrations:*"), ("viewer", "developer")),
)
