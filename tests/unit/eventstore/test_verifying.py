from collections.abc import Callable

import pytest
from msgspec.structs import replace

from keyledger.contracts.envelope import Entry, seal
from keyledger.eventstore.verifying import ChainBroken, verify_chain
from keyledger.testing.ledger_examples import SteppedClock, an_append
from keyledger.testing.memory_ledger import MemoryLedger, MemoryStore

Rows = list[Entry]


def resealed(rows: Rows) -> Rows:
    """Return the rows chained anew, as a forger would who can write the whole table but not the head."""
    chained: Rows = []
    for row in rows:
        chained.append(seal(row.header, row.data, chained[-1].hash if chained else rows[0].prev_hash))
    return chained


def with_header(rows: Rows, number: int, **fields: object) -> Rows:
    return [replace(row, header=replace(row.header, **fields)) if n == number else row for n, row in enumerate(rows)]


BROKEN: dict[str, tuple[Callable[[Rows], Rows], int, str]] = {
    "data changed": (lambda rows: [rows[0], replace(rows[1], data=b"forged"), *rows[2:]], 2, "its contents"),
    "header changed": (lambda rows: with_header(rows, 1, actor_user="someone"), 2, "its contents"),
    "row removed": (lambda rows: [rows[0], *rows[2:]], 2, "is missing, 3 follows"),
    "rows swapped": (lambda rows: [rows[1], rows[0], *rows[2:]], 1, "is missing, 2 follows"),
    "end cut off": (lambda rows: rows[:-1], 4, "is missing, though the ledger's head is at 4"),
    "all removed": (lambda _: [], 1, "is missing"),
    "row replaced": (lambda rows: [rows[0], seal(rows[1].header, b"", bytes(32)), *rows[2:]], 2, "does not follow"),
    "version skipped": (lambda rows: resealed(with_header(rows, 2, version=3)), 3, "version 3 follows 1"),
    "time turned back": (lambda rows: resealed(with_header(rows, 2, recorded_at=1)), 3, "was recorded before"),
    "forged throughout": (lambda rows: resealed(with_header(rows, 0, actor_user="someone")), 4, "the ledger's head"),
}


@pytest.mark.parametrize("change", BROKEN)
async def test_a_changed_ledger_is_found_out_at_its_first_wrong_row(change: str) -> None:
    store = MemoryStore()
    ledger = MemoryLedger(store, clock=SteppedClock())
    for stream, version in (("a", 0), ("b", 0), ("a", 1), ("a", 2)):
        await ledger.append(an_append(stream, version))
    assert await verify_chain(ledger) == store.head
    forge, position, why = BROKEN[change]
    store.entries = forge(store.entries)
    with pytest.raises(ChainBroken, match=why) as broken:
        await verify_chain(ledger)
    assert broken.value.position == position
    await ledger.close()
