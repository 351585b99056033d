"""Answers of this service: what every one of them carries."""

from collections.abc import Mapping
from typing import Annotated

from fastapi import Header
from fastapi.responses import Response

from keyledger.eventstore.port import Ledger
from keyledger.web.conditions import etag
from keyledger.web.documents import JSON, POSITION_HEADER
from keyledger.web.positions import PositionTokens
from keyledger.web.problems import Problem
from keyledger_commands.writing import Written

AtLeast = Annotated[
    str | None,
    Header(
        alias="Keyledger-At-Least",
        max_length=200,
        description="A `Keyledger-Position` that the answer must include. The ledger itself is read here, so it does; "
        "a token that is forged, of another ledger or beyond its head is refused.",
    ),
]


def answer(
    written: Written, positions: PositionTokens, body: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer to a write: its version as ETag, its position, and whether it was a replay."""
    named = {"ETag": etag(written.version), POSITION_HEADER: positions.write(written.position), **(headers or {})}
    if written.replayed:
        named["Idempotency-Replayed"] = "true"
    return Response(body, written.status, named, None if body is None else JSON)


async def reflected(ledger: Ledger, positions: PositionTokens, at_least: str | None) -> dict[str, str]:
    """Return the header that says which position an answer reflects at least: the ledger's end, as it is asked itself.

    Raises:
        Problem: ``invalid-position-token``, also for one beyond the end.
    """
    head = (await ledger.head()).position
    if at_least is not None and positions.read(at_least) > head:
        raise Problem("invalid-position-token", "it is beyond the end of this ledger")
    return {POSITION_HEADER: positions.write(head)}
