"""The reason codes of a verdict: stable words that callers may act on."""

from typing import Final, Literal

Code = Literal[
    "valid",
    "missing-credential",
    "invalid-credential",
    "expired",
    "revoked",
    "owner-deactivated",
    "disabled",
    "insufficient-permission",
    "verifier-stale",
]

HTTP_STATUS: Final[dict[Code, int]] = {
    "valid": 200,
    "missing-credential": 401,
    "invalid-credential": 401,
    "expired": 401,
    "revoked": 401,
    "owner-deactivated": 401,
    "disabled": 401,
    "insufficient-permission": 403,
    "verifier-stale": 503,
}

FAILED_CREDENTIAL: Final[frozenset[Code]] = frozenset(
    {"invalid-credential", "expired", "revoked", "owner-deactivated", "disabled"},
)
"""Outcomes that count as a failed attempt to get in. A missing credential is a mistake, not an attempt."""
