"""Appends for tests, and a clock that a test can set."""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import msgspec

from keyledger.contracts.envelope import Entry
from keyledger.contracts.registry import EncodedEvent
from keyledger.eventstore.port import Append, IdempotencyClaim, Ledger
from keyledger.runtime.clock import SystemClock

_numbers: Final = count(1)


class SteppedClock(SystemClock):
    """Wall time stands still but for a microsecond at each look: only rows of one batch have the same time."""

    def __init__(self, now: int = 1_760_000_000_000_000) -> None:
        self.time = now

    def now(self) -> int:
        self.time += 1
        return self.time


def an_event(data: bytes = b"{}", *, type: str = "KeyCreated", schema_version: int = 1) -> EncodedEvent:  # noqa: A002 - as the field is called
    """Return an encoded event."""
    return EncodedEvent(type, schema_version, False, data)


def an_append(stream: str, expected_version: int = 0, **more: Any) -> Append:
    """Return an append of one event, with an id of its own. ``more``: any field of ``Append``."""
    number = next(_numbers)
    append = Append(
        append_id=f"append-{number}",
        organization_id="org_1",
        stream=stream,
        expected_version=expected_version,
        events=(an_event(),),
        request_id=f"request-{number}",
    )
    return msgspec.structs.replace(append, **more)


def a_claim(scope: bytes = b"scope", request: bytes = b"request") -> IdempotencyClaim:
    """Return an idempotency claim that is answered with 201."""
    return IdempotencyClaim(scope, request, 201)


async def together(ledger: Ledger, *appends: Append) -> list[Any]:
    """Hand the appends in at the same moment, so that they share a batch; return the outcomes, exceptions too."""
    return await asyncio.gather(*(ledger.append(append) for append in appends), return_exceptions=True)


def last_version(rows: Sequence[Entry]) -> int:
    """Return the version of a loaded stream, 0 for an unknown one."""
    return rows[-1].header.version if rows else 0
