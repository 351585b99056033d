"""What can go wrong over HTTP: stable codes, each with its status and title (RFC 9457)."""

from typing import Final

from msgspec import Struct


class ProblemType(Struct, frozen=True):
    """One kind of problem. ``type`` in the answer is ``urn:keyledger:problem:<code>``."""

    code: str
    status: int
    title: str


_TYPES: Final = (
    ProblemType("malformed-request", 400, "The request cannot be read"),
    ProblemType("invalid-position-token", 400, "The position token is not one of this ledger"),
    ProblemType("ambiguous-credential", 400, "More than one credential was sent"),
    ProblemType("missing-credential", 401, "No API key was sent"),
    ProblemType("invalid-credential", 401, "The API key is not valid"),
    ProblemType("expired", 401, "The API key has expired"),
    ProblemType("revoked", 401, "The API key was revoked"),
    ProblemType("owner-deactivated", 401, "The API key's owner was deactivated"),
    ProblemType("disabled", 401, "The API key is disabled"),
    ProblemType("insufficient-permission", 403, "The API key does not allow this"),
    ProblemType("not-grantable", 403, "The role cannot be handed out with this API key"),
    ProblemType("not-found", 404, "There is no such thing"),
    ProblemType("method-not-allowed", 405, "The method is not allowed here"),
    ProblemType("request-in-flight", 409, "A request with this Idempotency-Key is being carried out"),
    ProblemType("conflict", 409, "Someone else changed it at the same time"),
    ProblemType("role-exists", 409, "There is a role of this id"),
    ProblemType("role-in-use", 409, "The role is in use"),
    ProblemType("builtin-role", 409, "Built-in roles stay as they are"),
    ProblemType("self-deactivation", 409, "Users cannot deactivate themselves"),
    ProblemType("precondition-failed", 412, "It is not at the version that If-Match names"),
    ProblemType("request-too-large", 413, "The request is too large"),
    ProblemType("unsupported-media-type", 415, "The body is not of a type that is understood here"),
    ProblemType("invalid-request", 422, "The request has invalid fields"),
    ProblemType("idempotency-mismatch", 422, "This Idempotency-Key was used for another request"),
    ProblemType("internal", 500, "Something went wrong here"),
    ProblemType("ledger-unavailable", 503, "The ledger cannot be reached; nothing was written"),
    ProblemType("outcome-unknown", 503, "Whether it was written could not be found out"),
    ProblemType("projection-behind", 503, "The read model has not caught up with the asked position yet"),
    ProblemType("verifier-stale", 503, "The verifier cannot prove that it is up to date"),
    ProblemType("not-ready", 503, "The service is not ready"),
)

PROBLEMS: Final = {problem.code: problem for problem in _TYPES}
