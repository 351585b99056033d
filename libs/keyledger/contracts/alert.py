"""What a detector says."""

from typing import Final, Literal

import msgspec
from msgspec import Struct

Severity = Literal["low", "medium", "high"]
RECORD_TYPE: Final = "AlertRaised"


class Alert(Struct, frozen=True, kw_only=True):
    """One alert. ``id`` follows from the rule and the attempts alone: the same input gives the same id.

    Times in microseconds. ``organization_id`` None: it concerns the operator. ``attempt_ids``: the evidence.
    """

    id: str
    rule: str
    severity: Severity
    title: str
    organization_id: str | None
    subject: str
    first_seen: int
    last_seen: int
    count: int
    attempt_ids: tuple[str, ...]


encode_alert: Final = msgspec.json.Encoder().encode
decode_alert: Final = msgspec.json.Decoder(Alert).decode
