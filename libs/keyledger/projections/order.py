"""The ledger's one order, checked by whoever reads it from the log: no gap, no other history, nothing twice."""

from typing import Final

from keyledger.contracts.cloudevents import ledger_source
from keyledger.contracts.envelope import Entry
from keyledger.projections.port import Checkpoint

REMEMBERED: Final = 4096
"""Hashes kept of the last positions, some 0.5 MB. A relay sends again what it sent shortly before it was killed."""


class GapInLedger(Exception):
    """A position is missing from the log: refill the topic from the ledger, then start again."""

    def __init__(self, *, expected: int, actual: int) -> None:
        super().__init__(f"position {expected} must come next, but {actual} came: {actual - expected} missing")
        self.expected, self.actual = expected, actual


class ForeignHistory(Exception):
    """The log tells another history than the one that was followed: another ledger, or one restored from a backup.

    To follow it, the read model has to be dropped and rebuilt: somebody must decide that.
    """

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"position {position}: {why}")
        self.position = position


class Chain:
    """The last row that was followed, and which row may come after it."""

    def __init__(self, at: Checkpoint) -> None:
        self.store, self.position, self._hash = at.store, at.position, at.hash
        self._recent = {at.position: at.hash}

    def admit(self, source: str, entry: Entry) -> bool:
        """Return True for the next row, and step on to it; False for one that was followed before.

        Raises:
            GapInLedger: rows are missing before this one.
            ForeignHistory: it is not of the ledger, or not of the history, that was followed.
        """
        position = entry.header.position
        self._must_be_our_store(source, position)
        if position > self.position + 1:
            raise GapInLedger(expected=self.position + 1, actual=position)
        if position <= self.position:
            # Without this, a restored ledger's new facts would be skipped as old ones until it had caught up.
            if self._recent.get(position, entry.hash) != entry.hash:
                raise ForeignHistory(position, "another row was followed at this position before")
            return False
        if entry.prev_hash != self._hash:
            raise ForeignHistory(position, "it does not continue the history that was followed")
        self.position, self._hash = position, entry.hash
        self._recent[position] = entry.hash
        self._recent.pop(position - REMEMBERED, None)
        return True

    def _must_be_our_store(self, source: str, position: int) -> None:
        if source == ledger_source(self.store):
            return
        if self.store:
            raise ForeignHistory(position, f"it is of {source}, but {ledger_source(self.store)} was followed")
        store = source.removeprefix(ledger_source(""))
        if store == source:
            raise ForeignHistory(position, f"{source} is no ledger")
        self.store = store
