"""The ledger's streams as this service reads them: always the truth itself, asked for many requests at once."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from functools import cached_property
from math import inf
from typing import Any, Final

from msgspec import Struct

from keyledger.contracts.envelope import Entry, Fact
from keyledger.contracts.ports import Clock
from keyledger.contracts.registry import UndecodableEvent, decode
from keyledger.domain import keys, organizations, people, roles
from keyledger.domain.events import RoleDeleted, UserDeactivated
from keyledger.domain.keys import Key
from keyledger.domain.organizations import AnyOrganization
from keyledger.domain.people import DeactivatedUser, Owner
from keyledger.domain.roles import AnyRole
from keyledger.eventstore.port import Ledger, LedgerUnavailable

RECALL_SECONDS: Final = 1.0
"""How long a stream is recalled without asking. Its version alone would not show that a ledger was put back from a
backup and went on otherwise; the hash does, at the next question, and nobody puts a ledger back within a second."""

MAX_KEPT_FACTS: Final = 20_000
"""Some 30 MB: what is kept of streams that were read before."""


class Stream(Struct, frozen=True, dict=True):
    """One aggregate's facts and the version they stand for; version 0 and no facts where there is nothing.

    ``hash``: of the ledger's row at that version; empty where the stream was not read back. Each fold is made once and
    refuses what does not belong into its stream.
    """

    version: int
    facts: tuple[Fact, ...]
    hash: bytes = b""

    @property
    def events(self) -> list[Any]:
        """What happened, in order."""
        return [fact.event for fact in self.facts]

    def up_to(self, version: int) -> "Stream":
        """Return the stream as it was at a version."""
        return Stream(version, tuple(fact for fact in self.facts if fact.header.version <= version))

    @cached_property
    def key(self) -> Key:
        """The key that the stream makes."""
        return keys.fold(self.events)

    @cached_property
    def owner(self) -> Owner:
        """The user, team or service account that the stream makes."""
        return people.fold(self.events)

    @cached_property
    def deactivated_position(self) -> int:
        """Where in the ledger the user that the stream makes was deactivated last; 0: nowhere."""
        found = (fact.header.position for fact in self.facts if isinstance(fact.event, UserDeactivated))
        return max(found, default=0)

    @cached_property
    def organization(self) -> AnyOrganization:
        """The organization that the stream makes."""
        return organizations.fold(self.events)

    @cached_property
    def role(self) -> AnyRole:
        """The role that the stream makes."""
        return roles.fold(self.events)

    @cached_property
    def life_of_role(self) -> tuple[Fact, ...]:
        """What happened to the role that the stream makes since it was defined, after the last deletion of its like."""
        deleted = [number for number, fact in enumerate(self.facts) if isinstance(fact.event, RoleDeleted)]
        return self.facts[deleted[-1] + 1 :] if deleted else self.facts


NEW: Final = Stream(0, ())
"""A stream that does not exist yet."""


def died_with_owner(key: Stream, owner: Stream) -> bool:
    """Say whether a key died when its owner was deactivated. Reactivation brings no earlier key back."""
    deactivated = isinstance(owner.owner, DeactivatedUser)
    return deactivated or key.facts[0].header.position < owner.deactivated_position


Read = Callable[[Collection[str]], Awaitable[dict[str, Stream]]]
"""Returns streams: as they are (``Streams.load``), or as they were seen a moment ago (``Streams.recall``)."""

_Waiting = tuple[frozenset[str], asyncio.Future[dict[str, Stream]]]
_Read = dict[str, Stream | UndecodableEvent]


class Streams:
    """Asks the ledger for streams. Make one for a process.

    Whoever comes while a question is under way shares the next one, so that each is answered by a question that was
    sent after they came. What was read before is kept, but never believed: the answer brings the last known row again
    and what came after it, and the row's hash stands for all of the ledger's history up to there.
    """

    def __init__(self, ledger: Ledger, clock: Clock) -> None:
        self._ledger, self._clock = ledger, clock
        self._kept: dict[str, Stream] = {}
        self._asked_at: dict[str, float] = {}
        self._kept_facts = 0
        self._waiting: list[_Waiting] = []
        self._asking: asyncio.Task[None] | None = None

    async def load(self, names: Collection[str]) -> dict[str, Stream]:
        """Return the streams as the ledger has them now.

        Raises:
            UndecodableEvent: one of them holds what this version cannot understand: then nothing may be decided on it.
            LedgerUnavailable
        """
        answer: asyncio.Future[dict[str, Stream]] = asyncio.get_running_loop().create_future()
        self._waiting.append((frozenset(names), answer))
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), name="streams")
        return await answer

    async def recall(self, names: Collection[str]) -> dict[str, Stream]:
        """Return the streams as they were read within the last second; what was not, as if it did not exist.

        Only what the ledger itself confirms may rest on it: an append that is guarded by their versions. Neither a
        refusal nor an answer to a question is.
        """
        oldest = self._clock.monotonic() - RECALL_SECONDS
        return {name: self._kept[name] if self._asked_at.get(name, -inf) > oldest else NEW for name in names}

    async def _ask(self) -> None:
        """Ask for all that wait, again and again until nobody does."""
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await _settle(waiting, self._read)
        finally:
            self._asking = None

    async def _read(self, names: Collection[str]) -> _Read:
        known = {name: self._kept[name].version for name in names if name in self._kept}
        asked_at = self._clock.monotonic()
        rows = await self._ledger.load(names, known=known)
        strange = [name for name in known if not rows[name] or rows[name][0].hash != self._kept[name].hash]
        if strange:  # the ledger was put back from a backup, and went on otherwise
            for name in strange:
                self._forget(name)
            rows |= await self._ledger.load(strange)
        return {name: self._understood(name, entries, asked_at) for name, entries in rows.items()}

    def _understood(self, name: str, entries: Sequence[Entry], asked_at: float) -> Stream | UndecodableEvent:
        if not entries:
            return NEW
        before = self._forget(name)
        try:
            stream = before if before.hash == entries[-1].hash else _followed(before, entries)
        except UndecodableEvent as error:
            return error
        self._keep(name, stream, asked_at)
        return stream

    def _keep(self, name: str, stream: Stream, asked_at: float) -> None:
        """Keep the stream as the one that was asked for last."""
        self._kept[name], self._asked_at[name] = stream, asked_at
        self._kept_facts += len(stream.facts)
        while self._kept_facts > MAX_KEPT_FACTS:
            self._forget(next(iter(self._kept)))

    def _forget(self, name: str) -> Stream:
        stream = self._kept.pop(name, NEW)
        self._asked_at.pop(name, None)
        self._kept_facts -= len(stream.facts)
        return stream


async def _settle(waiting: Sequence[_Waiting], read: Callable[[Collection[str]], Awaitable[_Read]]) -> None:
    """Read what is asked for, once, and answer everybody, whatever happens: nobody may wait for ever."""
    try:
        found = await read(frozenset[str]().union(*(names for names, _ in waiting)))
    except BaseException as error:
        told = error if isinstance(error, Exception) else LedgerUnavailable("the question was interrupted")
        for _, answer in waiting:
            if not answer.done():
                answer.set_exception(told)
        if not isinstance(error, Exception):
            raise
        return
    for names, answer in waiting:
        if not answer.done():  # its caller was cancelled meanwhile
            _answer(answer, {name: found[name] for name in names})


def _answer(answer: asyncio.Future[dict[str, Stream]], found: Mapping[str, Stream | UndecodableEvent]) -> None:
    streams: dict[str, Stream] = {}
    for name, stream in found.items():
        if isinstance(stream, UndecodableEvent):
            answer.set_exception(stream)
            return
        streams[name] = stream
    answer.set_result(streams)


def _followed(before: Stream, entries: Sequence[Entry]) -> Stream:
    """Return the stream with what came after it; the first entry is the one that is known, unless nothing is."""
    new = entries[1:] if before.version else entries
    facts = tuple(fact for entry in new if (fact := decode(entry)) is not None)
    return Stream(entries[-1].header.version, before.facts + facts, entries[-1].hash)
