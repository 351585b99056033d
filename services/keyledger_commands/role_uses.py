"""Who has a role that nobody gets any more: looked for in the ledger itself, which no read model is as sure as."""

from typing import Final

from msgspec import Struct, field

from keyledger.domain.identifiers import is_resource_id
from keyledger.domain.keys import Active
from keyledger.domain.people import DeactivatedUser, Owner, roles_of
from keyledger.domain.roles import definition_of
from keyledger.eventstore.port import Ledger, LedgerUnavailable
from keyledger_commands.streams import Read, Stream, died_with_owner

ENOUGH: Final = 1_000
"""So many are enough to say no: the ledger is not read to its end for the exact number."""

_PAGE_ROWS: Final = 1_000
_SHOWN: Final = 5


class Uses(Struct):
    """What names a role: users, deactivated ones too, who may come back; living keys; roles that may hand it out."""

    users: list[str] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    roles: list[str] = field(default_factory=list)

    def any(self) -> bool:
        """Say whether anything names it."""
        return bool(self.users or self.keys or self.roles)

    def enough(self) -> bool:
        """Say whether there are more than anybody would count."""
        return len(self.users) + len(self.keys) + len(self.roles) >= ENOUGH

    def told(self) -> str:
        """Return how many there are of each kind, and which the first of them are."""
        kinds = (("users", self.users), ("keys", self.keys), ("roles that may hand it out", self.roles))
        parts = [f"{len(ids)} {kind} ({_shown(ids)})" for kind, ids in kinds if ids]
        return f"it is named by {'at least ' if self.enough() else ''}{', '.join(parts)}"


def _shown(ids: list[str]) -> str:
    return ", ".join(ids[:_SHOWN]) + (", ..." if len(ids) > _SHOWN else "")


async def uses_of(ledger: Ledger, read: Read, closed: Stream, role: str) -> Uses:
    """Return what names a closed role now, and not much more than ``ENOUGH`` of it.

    All of it was written between the role's definition and its closing: before that there was no such role, and since
    then whatever would name it is refused by its guard.
    """
    first, last = closed.life_of_role[0].header, closed.life_of_role[-1].header
    spelled = f'"{role}"'.encode()  # as it stands in JSON
    uses, seen, after = Uses(), {last.stream}, first.position
    while after < last.position and not uses.enough():
        page = await ledger.read(after, limit=min(_PAGE_ROWS, last.position - after))
        if not page:
            raise LedgerUnavailable(f"the ledger ends at {after}, and had {last.position}")
        after = page[-1].header.position
        ours = [row for row in page if row.header.organization_id == last.organization_id]
        found = {row.header.stream for row in ours if spelled in row.data} - seen
        seen |= found
        if found:
            await _add(uses, read, found, role)
    return uses


async def _add(uses: Uses, read: Read, names: set[str], role: str) -> None:
    """Add those of the streams that name the role at their end."""
    loaded = await read(names)
    keys = {name: key for name in names if is_resource_id(name, "key") if isinstance(key := loaded[name].key, Active)}
    owners = await read({key.owner_id for key in keys.values()})
    uses.keys += sorted(
        name
        for name, key in keys.items()
        if key.role == role and not died_with_owner(loaded[name], owners[key.owner_id])
    )
    uses.users += sorted(
        name for name in names if is_resource_id(name, "user") and role in _roles_once_active(loaded[name].owner)
    )
    definitions = [definition_of(loaded[name].role) for name in names if "/role/" in name]
    uses.roles += sorted(one.id for one in definitions if one is not None and role in one.grants)


def _roles_once_active(owner: Owner) -> tuple[str, ...]:
    """Return the roles that a user has, or would have again once reactivated."""
    return roles_of(owner.last if isinstance(owner, DeactivatedUser) else owner)
