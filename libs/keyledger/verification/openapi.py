"""What the OpenAPI document says of the verify route, which no framework describes."""

from collections import defaultdict
from typing import Any, Final

import msgspec

from keyledger.contracts.problems import PROBLEMS
from keyledger.verification.answers import DETAILS, VerifiedKey

_REF: Final = "#/components/schemas/{name}"
_REQUEST_ID: Final = "req_5f0c1d2e3b4a59687786a5b4"
_PROBLEM_JSON: Final = "application/problem+json"

_MAY_ANSWER: Final = (
    "malformed-request",
    "ambiguous-credential",
    "invalid-position-token",
    "missing-credential",
    "invalid-credential",
    "expired",
    "revoked",
    "owner-deactivated",
    "disabled",
    "insufficient-permission",
    "internal",
    "not-ready",
    "projection-behind",
    "verifier-stale",
)

EXAMPLE: Final[dict[str, Any]] = {
    "valid": True,
    "code": "valid",
    "key_id": "key_01hXk3fJ7Qb4dU6wAs3MnP",
    "name": "deploy from CI",
    "type": "service",
    "organization_id": "org_01hXk2vq8ZrT5yBnE7cLsW",
    "owner": {"type": "service", "id": "service_01hXk31PdG9mH4tVxQ2aRk"},
    "role": "developer",
    "permissions": ["*:read", "agents:create", "agents:update"],
    "environment": "prod",
    "expires_at": "2027-01-01T00:00:00.000000Z",
    "metadata": {"customer": "acme"},
    "position": "AQ8cAAAAAAAAAAAAAAAAAAAAAAAAAAAAACoZ1fM0p7dQm2kXnE4bYwVh",
    "fresh_as_of": "2026-06-01T12:00:00.250000Z",
}


def document() -> dict[str, Any]:
    """Return ``paths`` and ``components`` of the route. ``ProblemBody`` is the schema that every service shares."""
    _, schemas = msgspec.json.schema_components([VerifiedKey], ref_template=_REF)
    return {"paths": {"/v1/auth/verify": {"get": _operation()}}, "components": {"schemas": schemas}}


def _operation() -> dict[str, Any]:
    return {
        "operationId": "verify_key",
        "summary": "Verify an API key",
        "description": (
            "Says whether the key that the request is sent with is good, and for what. Whoever has no right secret "
            "gets the same 401, whatever key was meant; the holder of a right one learns what became of it. "
            "A key must never be part of a URL: `api_key` in the query is refused."
        ),
        "security": [{"apiKey": []}],
        "parameters": [
            {
                "name": "permission",
                "in": "query",
                "required": False,
                "description": "Also ask whether the key may do this: 403 `insufficient-permission` where it may not.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}:[A-Za-z0-9._-]{1,64}$"},
                "example": "agents:create",
            },
            {
                "name": "Keyledger-At-Least",
                "in": "header",
                "required": False,
                "description": "The `Keyledger-Position` of a write that the verdict must know of; waits up to 2 s.",
                "schema": {"type": "string"},
            },
            {
                "name": "Keyledger-Request-Id",
                "in": "header",
                "required": False,
                "description": "Kept in the answer and in the record of the attempt; without it one is made.",
                "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
            },
        ],
        "responses": {
            "200": {
                "description": "The key is good for what was asked.",
                "headers": {
                    "Keyledger-Request-Id": {"schema": {"type": "string"}},
                    "Cache-Control": {"schema": {"type": "string", "const": "no-store"}},
                },
                "content": {
                    "application/json": {"schema": {"$ref": _REF.format(name="VerifiedKey")}, "example": EXAMPLE}
                },
            },
            **_refusals(),
        },
    }


def _refusals() -> dict[str, Any]:
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in _MAY_ANSWER:
        by_status[PROBLEMS[code].status].append(code)
    return {
        str(status): {
            "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in codes),
            "content": {
                _PROBLEM_JSON: {
                    "schema": {"$ref": _REF.format(name="ProblemBody")},
                    "examples": {code: {"value": _example(code)} for code in codes},
                }
            },
            **({"headers": {"Retry-After": {"schema": {"type": "string"}}}} if status == 503 else {}),  # noqa: PLR2004 - RFC 9110, 15.6.4
        }
        for status, codes in sorted(by_status.items())
    }


def _example(code: str) -> dict[str, Any]:
    problem = PROBLEMS[code]
    return {
        "type": f"urn:keyledger:problem:{code}",
        "title": problem.title,
        "status": problem.status,
        "detail": DETAILS[code],
        "code": code,
        "request_id": _REQUEST_ID,
    }
