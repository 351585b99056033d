"""The relay's checkpoint in the ledger: what an operator sees of it, and what stops a second relay."""

from typing import Final, NoReturn

from keyledger.contracts.ports import Clock
from keyledger.eventstore.port import CheckpointMoved, Ledger, LedgerUnavailable, OutcomeUnknown
from keyledger_relay.patience import Patience
from keyledger_relay.progress import Progress

NAME: Final = "relay"
INTERVAL_SECONDS: Final = 0.25
"""The shortest time between two moves: each is a commit in the database that the writers share."""


class Mark:
    """Follows the progress, behind it and off its path: nobody's event waits for the checkpoint."""

    def __init__(self, ledger: Ledger, *, progress: Progress, patience: Patience, clock: Clock) -> None:
        self._ledger = ledger
        self._progress = progress
        self._patience = patience
        self._clock = clock
        self._uncertain: set[int] = set()

    async def run(self) -> NoReturn:
        """Keep the checkpoint at what both topics hold, until cancelled.

        Raises:
            CheckpointMoved: another relay moves it too. Whichever notices first stops.
        """
        value: int | None = None
        while True:
            await self._progress.moved.wait()
            self._progress.moved.clear()
            try:
                value = await self._moved(value, self._progress.position)
            except (LedgerUnavailable, OutcomeUnknown) as error:
                self._progress.moved.set()
                await self._patience.failed(error)
            else:
                await self._clock.sleep(INTERVAL_SECONDS)

    async def _moved(self, value: int | None, new: int) -> int:
        """Move the checkpoint from ``value`` (None: from wherever it is) and return where it is now."""
        expected = await self._ledger.checkpoint(NAME) if value is None else value
        if expected == new:
            return new
        try:
            await self._ledger.move_checkpoint(NAME, expected=expected, new=new)
        except (LedgerUnavailable, OutcomeUnknown):
            self._uncertain.add(new)
            raise
        except CheckpointMoved:
            # Not another relay's doing if it is where a broken connection left the outcome of our own move open.
            found = await self._ledger.checkpoint(NAME)
            if found not in self._uncertain:
                raise
            self._uncertain.clear()
            return await self._moved(found, new)
        self._uncertain.clear()
        return new
