"""A ledger that tests can look over the shoulder of: what is asked of it, and what happens in between."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from keyledger.contracts.envelope import Entry
from keyledger.eventstore.port import Append, Appended, Ledger, Replayed


class Watched:
    """Passes everything on to a ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.inner = ledger
        self.appends: list[Append] = []
        self.loads: list[tuple[str, ...]] = []
        self.before_append: Callable[[Append], Awaitable[None]] | None = None
        """Runs between a decision and its append, where another process may be faster."""
        self.before_load: Callable[[Collection[str]], Awaitable[None]] | None = None
        self.after_append: Callable[[Append], Awaitable[None]] | None = None

    async def append(self, append: Append) -> Appended | Replayed:
        if self.before_append is not None:
            await self.before_append(append)
        self.appends.append(append)
        outcome = await self.inner.append(append)
        if self.after_append is not None:
            await self.after_append(append)
        return outcome

    async def load(self, streams: Collection[str], *, known: Mapping[str, int] = {}) -> dict[str, list[Entry]]:
        if self.before_load is not None:
            await self.before_load(streams)
        self.loads.append(tuple(streams))
        return await self.inner.load(streams, known=known)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)
