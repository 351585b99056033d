"""The ledger against what its clients were told."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from keyledger.contracts.envelope import Entry, Fact, Header
from keyledger.contracts.registry import decode
from keyledger.eventstore.port import Ledger
from keyledger.eventstore.verifying import ChainBroken, verify_chain
from keyledger.verification.peppers import Peppers
from keyledger.web.positions import position_tokens
from tests.faults.clients import Write

PAGE_ROWS = 5_000


async def rows_of(ledger: Ledger) -> list[Entry]:
    """Return the whole ledger."""
    rows: list[Entry] = []
    while page := await ledger.read(len(rows), limit=PAGE_ROWS):
        rows += page
    return rows


async def facts_of(ledger: Ledger) -> list[Fact]:
    """Return the whole ledger, understood."""
    facts = [decode(row) for row in await rows_of(ledger)]
    return [fact for fact in facts if fact is not None]


async def ledger_violations(ledger: Ledger, writes: Sequence[Write], peppers: Peppers) -> list[str]:
    """Return what is wrong: the chain, an answered write that is not there once at its place, a refused one that is.

    A write that nobody knows of is there once or never. A write that was sent after another one's answer stands after
    it.
    """
    try:
        await verify_chain(ledger)
    except ChainBroken as broken:
        return [f"the chain is broken: {broken}"]
    positions = position_tokens(ledger.store_id, peppers)
    found = _appends(row.header for row in await rows_of(ledger))
    violations: list[str] = []
    answered: list[tuple[Write, int]] = []
    for twins in _by_idempotency_key(writes):
        places = {place for write in twins for place in found.get(write.mark, {}).values()}
        if len(places) > 1:
            violations.append(f"{_named(twins[0])} was carried out {len(places)} times, at {sorted(places)}")
            continue
        for write in twins:
            if write.state == "failed" and found.get(write.mark):
                violations.append(f"{_named(write)} was refused ({write.status} {write.code}) and carried out")
            elif write.state == "ok":
                assert write.token is not None, "each answered write has a position"
                told = positions.read(write.token)
                if {told} != places:
                    violations.append(f"{_named(write)} was answered position {told} and stands at {places}")
                if not write.replayed:
                    answered.append((write, told))
    for write in writes:
        found.pop(write.mark, None)
    violations += [f"nobody sent what request {mark} wrote" for mark in found if not mark.startswith(OTHERS)]
    return violations + out_of_order(answered)


OTHERS = ("bootstrap", "other-")
"""Request ids of what no client of the run sent: the first start, and what a campaign writes itself."""


def _by_idempotency_key(writes: Iterable[Write]) -> list[list[Write]]:
    """Return the writes, those together that must be carried out once together."""
    groups: dict[str, list[Write]] = defaultdict(list)
    for write in writes:
        groups[write.idempotency_key or write.mark].append(write)
    return list(groups.values())


def out_of_order(answered: Iterable[tuple[Write, int]]) -> list[str]:
    """Return the writes that stand before one which had been answered when they were sent."""
    by_sending = sorted(answered, key=lambda pair: pair[0].sent_at)
    by_answer = iter(sorted(by_sending, key=lambda pair: pair[0].answered_at))
    violations: list[str] = []
    last, next_answer = 0, next(by_answer, None)
    for write, position in by_sending:
        while next_answer is not None and next_answer[0].answered_at < write.sent_at:
            last = max(last, next_answer[1])
            next_answer = next(by_answer, None)
        if position <= last:
            violations.append(f"{_named(write)} stands at {position}, but {last} was answered before it was sent")
    return violations


def _appends(headers: Iterable[Header]) -> dict[str, dict[str, int]]:
    """Return for each request id its appends, each with the position of its last event."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for header in headers:
        found[header.request_id][header.append_id] = header.position
    return found


def _named(write: Write) -> str:
    return f"{write.method} {write.path} {write.mark}"
