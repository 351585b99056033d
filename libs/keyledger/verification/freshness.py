"""How current a node is, and waiting until it is current enough.

A node that has applied position N of a head ``{store, N, at T}`` is current as of T: by T, never by when the head
arrived, since a head may lie in the log for long. The bound that follows: a node refuses to answer once its own clock
says T + ``max_staleness``, so with clocks that differ by at most ``clock_skew`` no answer is older than both together.
"""

import logging
from collections import deque
from collections.abc import Callable
from typing import Final, Literal

from keyledger.contracts.freshness import Head, StalePolicy
from keyledger.contracts.ports import Clock
from keyledger.projections.waiters import MAX_WAITERS, Waiters

log = logging.getLogger(__name__)

Waited = Literal["applied", "behind", "beyond"]
"""``beyond``: the ledger itself does not hold that position, so that no waiting helps."""

_MAX_PENDING: Final = 4096


class Freshness:
    """What a node knows of its own age. Everything is called from the thread of one event loop.

    ``admitted`` is false until the node's registration was acknowledged: a node that no receipt counts may not answer.
    ``whole``: the index was filled once; else it is still being filled, and ``on_whole`` is called when it is.
    """

    def __init__(
        self,
        *,
        store: str,
        position: int,
        max_staleness_seconds: float,
        clock_skew_seconds: float,
        on_stale: StalePolicy,
        clock: Clock,
        max_waiters: int = MAX_WAITERS,
        whole: bool = True,
        on_whole: Callable[[], None] = lambda: None,
    ) -> None:
        self.store = store
        self.position = position
        self.fresh_as_of: int | None = None
        self.admitted = False
        self.on_stale = on_stale
        self.refused_heads = 0
        self._clock = clock
        self._applied_at = clock.now()
        self._unconfirmed = position
        self._whole, self._on_whole = whole, on_whole
        self._max_staleness = round(max_staleness_seconds * 1_000_000)
        self._skew = round(clock_skew_seconds * 1_000_000)
        self._pending: deque[Head] = deque(maxlen=_MAX_PENDING)
        self._latest: Head | None = None
        self._waiters = Waiters(clock, max_waiters=max_waiters)
        self._waiters.advance(position)

    def is_stale(self, now: int) -> bool:
        """Say whether the node cannot prove at ``now`` (us) that it is young enough."""
        if not self.admitted or self.fresh_as_of is None:
            return True
        return now - self.fresh_as_of > self._max_staleness or self._lies_ahead(self.fresh_as_of, now)

    def may_answer(self, now: int) -> bool:
        """Say whether the node may answer at ``now`` (us): it is admitted, and fresh or told not to care.

        Who does not care takes an old state, not one that never was: while an index is filled, no key is revoked yet.
        """
        return self.admitted and ((self.on_stale == "allow" and self._whole) or not self.is_stale(now))

    def heard(self, head: Head, *, now: int) -> None:
        """Take a head into account: at once where its position is applied, else when it will be."""
        if self.store and head.store != self.store:
            self._refuse(head, f"it is of ledger {head.store}, and this node follows {self.store}")
            return
        if self._lies_ahead(head.at, now):
            # Believing it would keep the node "fresh" for as long as the clocks differ.
            self._refuse(head, "its time lies further ahead than the declared clock skew: check the clocks")
            return
        if self._went_back(head):
            self._refuse(
                head,
                f"position {self.position} is applied: unless this is a head of before, the ledger was restored from a "
                "backup, and this index must be dropped (infra/README.md)",
            )
            return
        self._unconfirmed = 0
        if self.fresh_as_of is not None and self._lies_ahead(self.fresh_as_of, now):
            log.warning("the clock was set back: what was proven before no longer counts")
            self.fresh_as_of = None
        self._latest = head
        if head.position <= self.position:
            self._prove(head)
        else:
            self._pending.append(head)

    def applied(self, store: str, position: int) -> None:
        """Take into account that the index now holds everything up to ``position`` of ledger ``store``."""
        if store != self.store:
            # An empty index takes the store from the first heads; the facts are what counts.
            if self.store:
                log.error("the heads were of ledger %s, the facts are of ledger %s", self.store, store)
            self.store, self.fresh_as_of, self._latest = store, None, None
            self._pending = deque((head for head in self._pending if head.store == store), maxlen=_MAX_PENDING)
        self.position, self._applied_at, self._unconfirmed = position, self._clock.now(), 0
        while self._pending and self._pending[0].position <= position:
            self._prove(self._pending.popleft())
        self._waiters.advance(position)

    async def wait_for(
        self, position: int, *, asked_at: int, timeout_seconds: float = 2, always: bool = False
    ) -> Waited:
        """Return once ``position`` is applied, woken by the commit; else, at the latest after the timeout, why not.

        ``asked_at`` (us) is when the request came. A head that is surely younger and lies below the asked position
        shows that the ledger never gave that position out. When too many wait already, the answer comes at once, unless
        one must wait ``always``.
        """
        if await self._waiters.wait_for(position, timeout_seconds=timeout_seconds, always=always):
            return "applied"
        return "beyond" if self.is_beyond(position, asked_at=asked_at) else "behind"

    def is_beyond(self, position: int, *, asked_at: int) -> bool:
        """Say whether a head surely younger than ``asked_at`` (us) shows that the ledger does not hold ``position``."""
        latest = self._latest
        return latest is not None and latest.at > asked_at + self._skew and latest.position < position

    def _went_back(self, head: Head) -> bool:
        """Say whether the ledger held less at the head's time than was applied of it before.

        Believed, it would keep a node fresh that still accepts what the ledger has lost. When what an index was opened
        with was applied, nobody knows: until it is confirmed, no smaller head proves anything.
        """
        if head.position < self._unconfirmed:
            return True
        return head.position < self.position and head.at > self._applied_at + self._skew

    def _lies_ahead(self, at: int, now: int) -> bool:
        """Say whether no clock within the declared skew can say ``at`` yet: ours was set back, or one is wrong."""
        return at > now + self._skew

    def _prove(self, head: Head) -> None:
        if not self._whole:
            self._whole = True
            self._on_whole()
        if not self.store:
            self.store = head.store
        if self.fresh_as_of is None or head.at > self.fresh_as_of:
            self.fresh_as_of = head.at

    def _refuse(self, head: Head, why: str) -> None:
        self.refused_heads += 1
        log.error("a head of the ledger (position %d) is not believed: %s", head.position, why)
