"""Answers of this service: what every one of them carries."""

from collections.abc import Mapping

from fastapi.responses import Response

from keyledger.web.conditions import etag
from keyledger.web.documents import JSON, POSITION_HEADER
from keyledger.web.positions import PositionTokens
from keyledger_commands.writing import Written


def answer(
    written: Written, positions: PositionTokens, body: str | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """Return the answer to a write: its version as ETag, its position, and whether it was a replay."""
    named = {"ETag": etag(written.version), POSITION_HEADER: positions.write(written.position), **(headers or {})}
    if written.replayed:
        named["Idempotency-Replayed"] = "true"
    return Response(body, written.status, named, None if body is None else JSON)
