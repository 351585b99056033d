"""The rule ``failed-burst``: five failed attempts from one source within ten minutes, sliding, in event time.

A burst belongs to a scope: (the attempt's organization, the source's neighbourhood). The organization is the key's,
else that of the verifier's binding, else None, which means the operator. So what one tenant's verifiers saw neither
counts towards another tenant's alert nor shows in its evidence, even when both are tried from the same address. The
neighbourhood is an IPv4 address, or the /64 of an IPv6 address.

One alert per burst. A burst begins with the fifth failure that fits into a window ending at the newest failure seen
from its scope; every further failure no more than a window after the newest one extends it silently; the first
failure later than that finds an empty window and begins anew.

The state is a fold over attempts in the order of their partition, so it does not matter how they were cut into
records. Event times may come out of order: an attempt counts by its own time, and one that is a whole window older
than the newest of its scope is too late to count. No other scope's clock has a say: a node with a wrong clock can
blind the rule for the sources it reports in its own organization only.
"""

from hashlib import sha256
from typing import Final

import msgspec
from msgspec import Struct

from keyledger.contracts.alert import Alert
from keyledger.contracts.auth_event import AuthAttempt, neighbourhood
from keyledger.contracts.verdict import FAILED_CREDENTIAL
from keyledger.domain.identifiers import UUID_DIGITS, encode_base62

RULE: Final = "failed-burst"
FAILURES: Final = 5
WINDOW_MICROSECONDS: Final = 10 * 60 * 1_000_000

Failure = tuple[int, str]
"""(event time in microseconds, attempt id)."""


class Gathering(Struct, frozen=True, tag="gathering"):
    """Failures of the current window, oldest first: fewer than ``FAILURES``, so the memory of a scope is bounded."""

    failures: tuple[Failure, ...] = ()


class Bursting(Struct, frozen=True, tag="bursting"):
    """The alert was given; ``newest`` is the event time of the newest failure since."""

    newest: int


Burst = Gathering | Bursting

INITIAL: Final[Burst] = Gathering()


def scope_of(attempt: AuthAttempt) -> str:
    """Return the scope whose state an attempt belongs to, as unambiguous text: JSON of organization, neighbourhood."""
    return msgspec.json.encode((attempt.organization_id, neighbourhood(attempt.source))).decode()


def counts(attempt: AuthAttempt) -> bool:
    """Say whether the rule looks at this attempt at all: only a presented credential that was refused is a failure."""
    return attempt.code in FAILED_CREDENTIAL


def observe(burst: Burst, attempt: AuthAttempt) -> tuple[Burst, tuple[Alert, ...]]:
    """Fold one attempt of this scope into its state; return the new state and the alerts it gives (none or one)."""
    if not counts(attempt):
        return burst, ()
    if isinstance(burst, Bursting):
        if attempt.at < burst.newest + WINDOW_MICROSECONDS:
            return Bursting(max(burst.newest, attempt.at)), ()
        burst = Gathering()
    newest = max(attempt.at, burst.failures[-1][0] if burst.failures else attempt.at)
    counted = sorted((*burst.failures, (attempt.at, attempt.id)))
    window = tuple(failure for failure in counted if failure[0] > newest - WINDOW_MICROSECONDS)
    if len(window) < FAILURES:
        return Gathering(window), ()
    return Bursting(newest), (_alert(attempt, window),)


def _alert(tripping: AuthAttempt, window: tuple[Failure, ...]) -> Alert:
    subject = neighbourhood(tripping.source)
    return Alert(
        id=alert_id(RULE, scope_of(tripping), tripping.id),
        rule=RULE,
        severity="medium",
        title=f"{len(window)} failed attempts from {subject} within 10 minutes",
        organization_id=tripping.organization_id,
        subject=subject,
        first_seen=window[0][0],
        last_seen=window[-1][0],
        count=len(window),
        attempt_ids=tuple(attempt_id for _, attempt_id in window),
    )


def alert_id(rule: str, scope: str, attempt_id: str) -> str:
    """Return ``alert_<22 base62>``: 128 bits of SHA-256 over rule, scope and the id of the attempt that tripped it."""
    digest = sha256(msgspec.json.encode((rule, scope, attempt_id))).digest()
    return f"alert_{encode_base62(int.from_bytes(digest[:16]), UUID_DIGITS)}"
