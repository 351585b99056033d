"""Who may do what: roles as predicates, evaluated when asked and never expanded into lists."""

from typing import Final

from msgspec import Struct

ANY: Final = "*"
EVERYTHING: Final = f"{ANY}:{ANY}"

UNPRIVILEGED: Final = "*:unprivileged"
"""Stands in ``grants`` for every role that is unprivileged at the moment it is handed out. No role's id has a colon."""

OWN_RESOURCES: Final = frozenset(
    {
        "alerts",
        "api-keys",
        "audit",
        "events",
        "organizations",
        "roles",
        "service-accounts",
        "teams",
        "usage",
        "users",
        "verifiers",
    }
)
"""Keyledger's own; all other resources are the platform's, whose keys these are."""


class Role(Struct, frozen=True):
    """What its holder may do (``resource:action``, ``*`` on either side), and which roles the holder may hand out."""

    id: str
    name: str
    permissions: frozenset[str]
    grants: frozenset[str]

    def allows(self, permission: str) -> bool:
        """Say whether the role contains ``resource:action``; with ``*``: all that it stands for.

        Exact: names are without end, so that no number of narrower permissions adds up to one with a ``*``.
        """
        resource, _, action = permission.partition(":")
        return not self.permissions.isdisjoint((permission, f"{resource}:{ANY}", f"{ANY}:{action}", EVERYTHING))

    @property
    def unprivileged(self) -> bool:
        """Say whether its holder may hand out nothing, and only read what is Keyledger's own."""
        parts = (permission.partition(":") for permission in self.permissions)
        return not self.grants and all(
            action == "read" or (resource != ANY and resource not in OWN_RESOURCES) for resource, _, action in parts
        )

    def may_grant(self, role: "Role") -> bool:
        """Say whether the role's holder may hand out ``role``."""
        return self.may_pass_on(role.id) or (UNPRIVILEGED in self.grants and role.unprivileged)

    def may_pass_on(self, grant: str) -> bool:
        """Say whether the role's holder has an entry of ``grants``, and may give it to other roles."""
        return grant in self.grants or ANY in self.grants


class Authority(Struct, frozen=True):
    """What a key may do. Each layer is a set of roles of which one must agree; all layers must agree.

    A personal key with a role of its own has two layers, its own and its owner's: it never exceeds its owner.
    A layer without roles agrees to nothing, and neither does an authority without layers.
    """

    layers: tuple[tuple[Role, ...], ...]

    def allows(self, permission: str) -> bool:
        """Say whether every layer allows ``resource:action``; with ``*``: all that it stands for."""
        return bool(self.layers) and all(any(role.allows(permission) for role in layer) for layer in self.layers)

    def may_grant(self, asked: Role) -> bool:
        """Say whether every layer may hand out the role."""
        return bool(self.layers) and all(any(role.may_grant(asked) for role in layer) for layer in self.layers)

    def may_pass_on(self, grant: str) -> bool:
        """Say whether every layer may give an entry of ``grants`` to other roles."""
        return bool(self.layers) and all(any(role.may_pass_on(grant) for role in layer) for layer in self.layers)


class BuiltinRole(Struct, frozen=True):
    """A role that every organization has from its first day."""

    role: str
    name: str
    permissions: tuple[str, ...]
    grants: tuple[str, ...]


BUILTIN_ROLES: Final = (
    BuiltinRole("viewer", "Viewer", ("*:read",), ()),
    BuiltinRole("developer", "Developer", ("*:read", "agents:create", "agents:update"), ()),
    BuiltinRole("administrator", "Administrator", (EVERYTHING,), (ANY,)),
    BuiltinRole(
        "api_manager",
        "API Manager",
        ("*:read", "api-keys:*", "integrations:*"),
        ("viewer", "developer", UNPRIVILEGED),
    ),
)
