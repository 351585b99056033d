"""The topics, their partitions and how long they keep what they hold."""

from typing import Final

from msgspec import Struct

FOREVER: Final = -1
DAY_MS: Final = 24 * 60 * 60 * 1000


class Topic(Struct, frozen=True):
    """One topic. ``retention_ms`` is in milliseconds; no topic is ever compacted but a table's change log."""

    name: str
    partitions: int
    retention_ms: int
    purpose: str


LEDGER: Final = Topic("keyledger.ledger.v1", 1, FOREVER, "every fact, with digests: for our own projectors only")
EVENTS: Final = Topic("keyledger.events.v1", 1, FOREVER, "every fact without digests: the contract others build on")
HEADS: Final = Topic("keyledger.heads.v1", 1, DAY_MS, "each second: the ledger's head was N at T")
AUTH: Final = Topic("keyledger.auth.v1", 4, 30 * DAY_MS, "verification attempts, by key")
AUTH_BY_SOURCE: Final = Topic("keyledger.auth-by-source.v1", 4, 30 * DAY_MS, "verification attempts, by source address")
VERIFIERS: Final = Topic("keyledger.verifiers.v1", 1, DAY_MS, "registration and applied position of verifier nodes")
ALERTS: Final = Topic("keyledger.alerts.v1", 1, FOREVER, "what the detectors say")

TOPICS: Final = (LEDGER, EVENTS, HEADS, AUTH, AUTH_BY_SOURCE, VERIFIERS, ALERTS)
