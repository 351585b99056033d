"""What a key may do at this moment: its owner, role and organization, joined when it is asked."""

from typing import Final

import lmdb
from msgspec import Struct

from keyledger.domain.identifiers import role_stream
from keyledger.domain.permissions import ANY, Authority, Role
from keyledger.verification.records import (
    KeyRecord,
    OrganizationRecord,
    OwnerRecord,
    ParkedRecord,
    RoleRecord,
    StoredRecord,
    decode_stored,
)

_MOST_LINES: Final = 20_000
_MOST_COMBINATIONS: Final = 2_000


class Held(Struct, frozen=True):
    """What a key holds: the ids of its effective roles, what they allow together, and the predicate itself.

    ``operator``: its organization is the operator's own.
    """

    role: tuple[str, ...]
    permissions: tuple[str, ...]
    authority: Authority
    operator: bool


class Snapshot:
    """What was read of one committed transaction.

    LMDB numbers its commits, and a reader of number N sees commit N and nothing else; so what was decoded under N is
    right for every reader of N, and is thrown away with it. Another environment's commits have the same numbers.
    """

    def __init__(self, number: int, position: int, environment: lmdb.Environment) -> None:
        self.number, self.position, self.environment = number, position, environment
        self._lines: dict[str, StoredRecord | None] = {}
        self._held: dict[tuple[str, str | None, tuple[str, ...] | None], Held] = {}

    def owner_of(self, key: KeyRecord, transaction: lmdb.Transaction) -> OwnerRecord | None:
        """Return the key's owner; None where it is not there or is parked: then the key is dead."""
        owner = self._line(key.owner_id, transaction)
        if isinstance(owner, OwnerRecord) and owner.organization_id == key.organization_id:
            return owner
        return None

    def held_by(self, key: KeyRecord, owner: OwnerRecord, transaction: lmdb.Transaction) -> Held | None:
        """Return what the key holds now; None where its organization is not there: then it is dead.

        None also where that, or a role that it needs, is parked: then nobody knows what the key may do.
        """
        organization = self._line(key.organization_id, transaction)
        if not isinstance(organization, OrganizationRecord):
            return None
        combination = (key.organization_id, key.role, owner.roles if key.type == "personal" else None)
        held = self._held.get(combination)
        if held is None:
            joined = self._join(*combination, transaction, operator=organization.operator)
            if joined is None:
                return None
            if len(self._held) >= _MOST_COMBINATIONS:
                self._held.clear()
            held = self._held[combination] = joined
        return held

    def _join(
        self,
        organization_id: str,
        own: str | None,
        owners: tuple[str, ...] | None,
        transaction: lmdb.Transaction,
        *,
        operator: bool,
    ) -> Held | None:
        layers = tuple(layer for layer in (None if own is None else (own,), owners) if layer is not None)
        found = tuple(tuple(self._role(organization_id, name, transaction) for name in layer) for layer in layers)
        if any(isinstance(role, ParkedRecord) for layer in found for role in layer):
            return None
        authority = Authority(tuple(tuple(role for role in layer if isinstance(role, Role)) for layer in found))
        return Held(layers[0] if layers else (), permissions_of(authority), authority, operator)

    def _role(self, organization_id: str, name: str, transaction: lmdb.Transaction) -> Role | ParkedRecord | None:
        found = self._line(role_stream(organization_id, name), transaction)
        if isinstance(found, RoleRecord):
            return Role(found.role, found.name, found.permissions, found.grants)
        return found if isinstance(found, ParkedRecord) else None

    def _line(self, stream: str, transaction: lmdb.Transaction) -> StoredRecord | None:
        try:
            return self._lines[stream]
        except KeyError:
            pass
        line = transaction.get(stream.encode())
        record = None if line is None else decode_stored(line).row
        if len(self._lines) >= _MOST_LINES:
            self._lines.clear()
        self._lines[stream] = record
        return record


def permissions_of(authority: Authority) -> tuple[str, ...]:
    """Return what all layers allow together, sorted, without what another one of the list contains.

    Exact without expanding anything: the overlap of ``a:*`` and ``*:read`` is ``a:read``.
    """
    layers = [{permission for role in layer for permission in role.permissions} for layer in authority.layers]
    if not layers:
        return ()
    common = layers[0]
    for layer in layers[1:]:
        common = {both for one in common for other in layer if (both := _overlap(one, other)) is not None}
    return tuple(sorted(one for one in common if not any(one != other and _contains(other, one) for other in common)))


def _overlap(one: str, other: str) -> str | None:
    pairs = zip(_sides(one), _sides(other), strict=True)
    sides = [b if a == ANY else a if b in (a, ANY) else None for a, b in pairs]
    return None if None in sides else f"{sides[0]}:{sides[1]}"


def _contains(wide: str, narrow: str) -> bool:
    return all(w in (n, ANY) for w, n in zip(_sides(wide), _sides(narrow), strict=True))


def _sides(permission: str) -> tuple[str, str]:
    resource, _, action = permission.partition(":")
    return resource, action
