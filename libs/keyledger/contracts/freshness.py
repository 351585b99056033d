"""What says how current a verifier node is: the ledger's heads, and the nodes' own reports."""

from typing import Final, Literal

import msgspec
from msgspec import Struct

StalePolicy = Literal["refuse", "allow"]
HEAD_TYPE: Final = "LedgerHead"
REPORT_TYPE: Final = "VerifierReported"


class Head(Struct, frozen=True, kw_only=True):
    """The ledger ``store`` held positions up to ``position`` at time ``at`` (us, read before the position)."""

    store: str
    position: int
    at: int


class VerifierReport(Struct, frozen=True, kw_only=True):
    """A node's registration (the first of a boot) or heartbeat: what it has applied, and as of when it is fresh.

    ``organizations`` empty: bound to none, answers for all. ``fresh_as_of`` None: not proven fresh yet.
    """

    node: str
    boot: str
    version: str
    organizations: tuple[str, ...]
    environments: tuple[str, ...]
    on_stale: StalePolicy
    position: int
    fresh_as_of: int | None
    at: int


decode_head = msgspec.json.Decoder(Head).decode
decode_report = msgspec.json.Decoder(VerifierReport).decode
