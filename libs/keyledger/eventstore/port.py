"""The ledger's port: append under conditions, load a stream, read everything in order."""

from collections.abc import Collection, Mapping
from typing import Protocol

from msgspec import Struct

from keyledger.contracts.envelope import Entry
from keyledger.contracts.registry import EncodedEvent


class IdempotencyClaim(Struct, frozen=True):
    """A caller's ``Idempotency-Key``: the digest of its scope, the digest of the request, and what was answered."""

    scope: bytes
    request_digest: bytes
    status: int


class Profile(Struct, frozen=True):
    """A person's name and address. Kept beside the events, so that it can be erased."""

    user_id: str
    name: str
    email: str | None


class Append(Struct, frozen=True, kw_only=True):
    """One command's facts and the conditions under which they may be written.

    ``guards`` are other streams' versions that must still hold (0: the stream must not exist). No events: the command
    changes nothing, but its conditions are checked and its idempotency claim is kept all the same.
    ``append_id`` is random; by it an uncertain commit is found again.
    """

    append_id: str
    organization_id: str
    stream: str
    expected_version: int
    events: tuple[EncodedEvent, ...]
    request_id: str
    guards: Mapping[str, int] = {}
    actor_user: str | None = None
    actor_key: str | None = None
    traceparent: str | None = None
    source_address: str | None = None
    profile: Profile | None = None
    idempotency: IdempotencyClaim | None = None


class Appended(Struct, frozen=True):
    """Written. ``position`` and ``version`` are those of the stream's last event, ``recorded_at`` (us) is its time."""

    position: int
    version: int
    recorded_at: int


class Replayed(Struct, frozen=True):
    """Nothing was written now: this idempotency key's command was carried out before, with this result."""

    status: int
    stream: str
    position: int
    version: int


class Head(Struct, frozen=True):
    """The last row of the ledger; position 0 and 32 zero bytes when it is empty."""

    position: int
    hash: bytes
    recorded_at: int


class LedgerError(Exception):
    """An append was not carried out."""


class VersionConflict(LedgerError):
    """A stream is not at the version that the command was decided on: load it again and decide again."""

    def __init__(self, stream: str, *, expected: int, actual: int, guard: bool = False) -> None:
        what = "guard" if guard else "stream"
        super().__init__(f"{what} {stream} is at version {actual}, expected {expected}")
        self.stream, self.expected, self.actual, self.guard = stream, expected, actual, guard


class IdempotencyMismatch(LedgerError):
    """This idempotency key was used for another request."""


class MalformedAppend(LedgerError):
    """A field cannot be stored (a control character in a header field, a lone surrogate, a number out of range)."""


class LedgerUnavailable(LedgerError):
    """The database cannot be reached, and nothing was written."""


class OutcomeUnknown(LedgerError):
    """The connection broke during the commit and the outcome could not be found out: it is written once or never."""


class LedgerNotMigrated(Exception):
    """The database holds no ledger of this version: somebody has to run ``keyledger migrate`` first."""


class CheckpointMoved(Exception):
    """Somebody else moved this checkpoint: whoever holds the old one is a zombie and must stop."""


class Ledger(Protocol):
    """The append-only, totally ordered table of events; ``store_id`` names it for ever (32 hex digits)."""

    store_id: str

    async def append(self, append: Append) -> Appended | Replayed:
        """Write all of it, or nothing. Returns when it is durable.

        Raises:
            VersionConflict, IdempotencyMismatch, MalformedAppend: refused, alone; batch-mates are not touched.
            LedgerUnavailable: nothing was written.
            OutcomeUnknown: written once or never.
        """
        ...

    async def find_replay(self, claim: IdempotencyClaim) -> Replayed | None:
        """Return what this idempotency key's command did, if it was carried out in the last 24 hours.

        Raises:
            IdempotencyMismatch: it was another request.
        """
        ...

    async def load(self, streams: Collection[str], *, known: Mapping[str, int] = {}) -> dict[str, list[Entry]]:
        """Return the rows of each stream in the order of versions; an unknown stream has an empty list.

        Of a stream whose version is ``known``, the row of that version and what came after it: whoever has read it
        before sees by its hash that the ledger is still the same.
        """
        ...

    async def streams(self, prefix: str, *, after: str = "", limit: int) -> list[str]:
        """Return up to ``limit`` names of streams that begin with ``prefix`` and come after a name, in their order.

        Names are ordered by their bytes. ``prefix`` ends in an ASCII character.
        """
        ...

    async def read(self, after: int, *, limit: int) -> list[Entry]:
        """Return up to ``limit`` rows of the whole ledger after a position, in order, without gaps."""
        ...

    async def head(self) -> Head: ...

    async def wait_beyond(self, position: int, *, timeout_seconds: float) -> None:
        """Return as soon as the ledger may hold more than ``position``, at the latest after the timeout."""
        ...

    async def profiles(self, user_ids: Collection[str]) -> dict[str, Profile]:
        """Return the profiles that exist and are not erased."""
        ...

    async def addresses(self, positions: Collection[int]) -> dict[int, str]:
        """Return the source addresses that are known of these positions and not erased."""
        ...

    async def erase(self, user_id: str) -> None:
        """Forget a person: the profile, and the addresses of the events they are the actor of. The facts stay."""
        ...

    async def checkpoint(self, name: str) -> int:
        """Return a reader's own mark in this ledger, 0 at first."""
        ...

    async def move_checkpoint(self, name: str, *, expected: int, new: int) -> None:
        """Set a reader's mark. Raises CheckpointMoved if it is not at ``expected``."""
        ...

    async def close(self) -> None: ...
