"""The ledger's streams as this service reads them: folded anew for every request, from the truth itself."""

from collections.abc import Collection
from typing import Any, Final

from msgspec import Struct

from keyledger.contracts.envelope import Fact
from keyledger.contracts.registry import decode
from keyledger.domain import keys, organizations, people
from keyledger.domain.keys import Key
from keyledger.domain.organizations import AnyOrganization
from keyledger.domain.people import Owner
from keyledger.domain.permissions import Role
from keyledger.eventstore.port import Ledger, last_version


class Stream(Struct, frozen=True):
    """One aggregate's facts and the version they stand for; version 0 and no facts where there is nothing."""

    version: int
    facts: tuple[Fact, ...]

    @property
    def events(self) -> list[Any]:
        """What happened, in order. A fold refuses what does not belong into its stream."""
        return [fact.event for fact in self.facts]

    def up_to(self, version: int) -> "Stream":
        """Return the stream as it was at a version."""
        return Stream(version, tuple(fact for fact in self.facts if fact.header.version <= version))


NEW: Final = Stream(0, ())
"""A stream that does not exist yet."""


async def load(ledger: Ledger, names: Collection[str]) -> dict[str, Stream]:
    """Return the streams in one query.

    Raises:
        UndecodableEvent: one of them holds what this version cannot understand: then nothing may be decided on it.
        LedgerUnavailable
    """
    loaded = await ledger.load(names)
    return {
        name: Stream(last_version(rows), tuple(fact for row in rows if (fact := decode(row)) is not None))
        for name, rows in loaded.items()
    }


def key_of(stream: Stream) -> Key:
    """Return the key that the stream makes."""
    return keys.fold(stream.events)


def owner_of(stream: Stream) -> Owner:
    """Return the user, team or service account that the stream makes."""
    return people.fold(stream.events)


def organization_of(stream: Stream) -> AnyOrganization:
    """Return the organization that the stream makes."""
    return organizations.fold(stream.events)


def role_of(stream: Stream) -> Role | None:
    """Return the role that the stream makes; None where it was never defined."""
    return organizations.role_of(stream.events)
