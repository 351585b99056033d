"""The rows that this process committed last, for whoever follows the ledger in it: they need not be read back."""

from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Final

from keyledger.contracts.envelope import Entry

KEPT_ROWS: Final = 1_000
KEPT_BYTES: Final = 1024 * 1024
"""Of events' data."""


class RecentRows:
    """The ledger's last rows without a gap, given in once their commit is durable. For one event loop."""

    def __init__(self) -> None:
        self._rows: deque[Entry] = deque()
        self._bytes = 0

    def add(self, rows: Sequence[Entry]) -> None:
        """Keep the rows of a commit."""
        if rows and self._rows and rows[0].header.position != self._rows[-1].header.position + 1:
            self._rows.clear()  # another process wrote in between
            self._bytes = 0
        self._rows.extend(rows)
        self._bytes += sum(len(row.data) for row in rows)
        while len(self._rows) > KEPT_ROWS or self._bytes > KEPT_BYTES:
            self._bytes -= len(self._rows.popleft().data)

    def after(self, position: int, limit: int) -> list[Entry]:
        """Return up to ``limit`` rows after the position; none where the database has to be asked."""
        if not self._rows or not self._rows[0].header.position <= position + 1 <= self._rows[-1].header.position:
            return []
        first = position + 1 - self._rows[0].header.position
        return list(islice(self._rows, first, first + limit))
