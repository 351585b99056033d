"""How far the relay is: shared by its loops, its readiness and its metrics."""

import asyncio

from keyledger.eventstore.port import Head


class Progress:
    """Positions only. Belongs to one event loop."""

    def __init__(self) -> None:
        self.position = 0
        """Both topics hold everything up to here; 0 until the topics' ends are known."""
        self.head = 0
        self.goal: int | None = None
        """The ledger's head when the relay started; None until it is known that the topics are this ledger's."""
        self.started = asyncio.Event()
        self.moved = asyncio.Event()
        self._oldest_waiting_at: int | None = None

    @property
    def lag_positions(self) -> int:
        """Return how many events wait, as of the last look at the head."""
        return max(0, self.head - self.position)

    def lag_seconds(self, now: int) -> float:
        """Return the age of the oldest event that waits; 0 when none does. ``now`` in microseconds."""
        oldest = self._oldest_waiting_at
        return 0.0 if oldest is None or not self.lag_positions else max(0, now - oldest) / 1_000_000

    def start(self, goal: int) -> None:
        """The topics are this ledger's, whose head is ``goal`` now. Later calls change nothing."""
        if self.goal is None:
            self.goal = goal
            self.started.set()

    def reach(self, position: int) -> None:
        """Both topics are known to hold everything up to ``position``; less than before, if one was truncated."""
        self.position = position
        self.head = max(self.head, position)
        self.moved.set()

    def see(self, head: Head, oldest_waiting_at: int | None) -> None:
        """Take note of the ledger's head, and when (us) the oldest event was recorded that waits."""
        self.head = head.position
        self._oldest_waiting_at = oldest_waiting_at

    def unready(self) -> str | None:
        """Say why the relay has not caught up with what there was when it started; None when it has."""
        if self.goal is None:
            return "the ends of the topics are not known yet"
        if self.position < self.goal:
            return f"relayed up to {self.position} of {self.goal}"
        return None
