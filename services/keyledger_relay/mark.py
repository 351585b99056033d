"""The relay's checkpoint in the ledger: what an operator sees of it, and what stops a second relay."""

from typing import Final, NoReturn

from keyledger.contracts import failpoints
from keyledger.contracts.ports import Clock
from keyledger.eventstore.port import Ledger, LedgerUnavailable, OutcomeUnknown
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
                # Carried out or not: our own unanswered move must not look like another relay's. Read it anew.
                value = None
                self._progress.moved.set()
                await self._patience.failed(error)
            else:
                await self._clock.sleep(INTERVAL_SECONDS)

    async def _moved(self, value: int | None, new: int) -> int:
        """Move the checkpoint from ``value`` (None: from wherever it is) and return where it is now."""
        expected = await self._ledger.checkpoint(NAME) if value is None else value
        if expected != new:
            await self._ledger.move_checkpoint(NAME, expected=expected, new=new)
            failpoints.reach("relay.after_checkpoint")
        return new
