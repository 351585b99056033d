"""Prove that the ledger is whole."""

from collections import defaultdict
from typing import Final

from keyledger.contracts.envelope import FIRST_PREV_HASH, Entry, chain_hash, encode_header
from keyledger.eventstore.port import Head, Ledger

PAGE_ROWS: Final = 1_000


class ChainBroken(Exception):
    """The ledger is not what was once written: a row was changed, lost, added or moved."""

    def __init__(self, position: int, why: str) -> None:
        super().__init__(f"position {position}: {why}")
        self.position, self.why = position, why


async def verify_chain(ledger: Ledger) -> Head:
    """Read the whole ledger and return its last row, having checked every position, hash, version and time.

    It holds one number for each stream in memory. What was cut off at the end does not show in the chain itself: it is
    noticed because the stored head is beyond the last row, or by comparing the answer with a head known from elsewhere.

    Raises:
        ChainBroken: at the first row that does not fit.
    """
    stored = await ledger.head()
    head = Head(0, FIRST_PREV_HASH, 0)
    versions: dict[str, int] = defaultdict(int)
    while page := await ledger.read(head.position, limit=PAGE_ROWS):
        for entry in page:
            head = _follow(head, entry, versions)
    if head.position < stored.position:
        raise ChainBroken(head.position + 1, f"is missing, though the ledger's head is at {stored.position}")
    if head.position == stored.position and head != stored:
        raise ChainBroken(head.position, "is not what the ledger's head says it is")
    return head


def _follow(head: Head, entry: Entry, versions: dict[str, int]) -> Head:
    header = entry.header
    due = head.position + 1
    if header.position != due:
        raise ChainBroken(due, f"is missing, {header.position} follows")
    if entry.prev_hash != head.hash:
        raise ChainBroken(due, "does not follow the row before it")
    if chain_hash(entry.prev_hash, encode_header(header), entry.data) != entry.hash:
        raise ChainBroken(due, "its contents do not have its hash")
    if header.version != versions[header.stream] + 1:
        raise ChainBroken(due, f"version {header.version} follows {versions[header.stream]} of {header.stream}")
    if header.recorded_at < head.recorded_at:
        raise ChainBroken(due, "was recorded before the row before it")
    versions[header.stream] = header.version
    return Head(header.position, entry.hash, header.recorded_at)
