"""Problems as answers: RFC 9457 ``application/problem+json`` with a stable code, a request id and exact pointers."""

from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any, Final

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from keyledger.contracts.problems import PROBLEMS
from keyledger.contracts.routes import find
from keyledger.eventstore.port import (
    IdempotencyMismatch,
    LedgerUnavailable,
    MalformedAppend,
    OutcomeUnknown,
    VersionConflict,
)
from keyledger.projections.port import ReadModelUnavailable

MEDIA_TYPE = "application/problem+json"
log = structlog.get_logger(__name__)


_DETAILS = {
    "not-found": "there is nothing at this path; /openapi.json describes what there is",
    "method-not-allowed": "the Allow header names the methods of this path",
}


class Problem(Exception):
    """A refusal that the caller is told. ``errors``: pairs of a JSON pointer (or parameter name) and what to do."""

    def __init__(
        self,
        code: str,
        detail: str | None = None,
        *,
        errors: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail or PROBLEMS[code].title)
        self.type = PROBLEMS[code]
        self.detail, self.errors, self.headers = detail, tuple(errors), dict(headers or {})


def body_of(problem: Problem, request_id: str) -> dict[str, Any]:
    """Return the JSON body of a problem."""
    body: dict[str, Any] = {
        "type": f"urn:keyledger:problem:{problem.type.code}",
        "title": problem.type.title,
        "status": problem.type.status,
        "code": problem.type.code,
        "request_id": request_id,
    }
    if problem.detail is not None:
        body["detail"] = problem.detail
    if problem.errors:
        body["errors"] = [{"pointer": pointer, "detail": detail} for pointer, detail in problem.errors]
    return body


def answer(problem: Problem, request: Request) -> Response:
    """Return the HTTP answer that says this problem."""
    headers = {"Cache-Control": "no-store", **problem.headers}
    if problem.type.status == 401:  # noqa: PLR2004 - RFC 9110, 15.5.2: a 401 names its scheme
        headers.setdefault("WWW-Authenticate", 'Bearer realm="keyledger"')
    body = body_of(problem, request.scope.get("keyledger.request_id", "unknown"))
    return JSONResponse(body, problem.type.status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Make every failure of this app a problem; none shows its inside."""

    @app.exception_handler(Problem)
    async def _(request: Request, error: Problem) -> Response:
        return answer(error, request)

    @app.exception_handler(RequestValidationError)
    async def _(request: Request, error: RequestValidationError) -> Response:
        return answer(invalid_request(error), request)

    @app.exception_handler(HTTPException)
    async def _(request: Request, error: HTTPException) -> Response:
        codes = {404: "not-found", 405: "method-not-allowed", 413: "request-too-large", 415: "unsupported-media-type"}
        code = codes.get(error.status_code, "malformed-request")
        headers = dict(error.headers or {})
        if code == "method-not-allowed":  # the framework knows the first route of the path only
            headers["Allow"] = ", ".join(find(request.method, request.url.path)[1]) or headers.get("allow", "")
        return answer(Problem(code, _DETAILS.get(code), headers=headers), request)

    @app.exception_handler(Exception)
    async def _(request: Request, error: Exception) -> Response:
        log.error("request failed", request_id=request.scope.get("keyledger.request_id"), exc_info=error)
        return answer(Problem("internal", "the request id finds the details in the log"), request)

    for refusal in (
        IdempotencyMismatch,
        LedgerUnavailable,
        MalformedAppend,
        OutcomeUnknown,
        ReadModelUnavailable,
        VersionConflict,
    ):
        app.add_exception_handler(refusal, _answer_store_error)


async def _answer_store_error(request: Request, error: Exception) -> Response:
    match error:
        case IdempotencyMismatch():
            problem = Problem("idempotency-mismatch", "use a new Idempotency-Key for a new request")
        case MalformedAppend():
            problem = Problem("invalid-request", str(error))
        case LedgerUnavailable():
            problem = Problem("ledger-unavailable", "try again", headers={"Retry-After": "1"})
        case OutcomeUnknown():
            problem = Problem(
                "outcome-unknown",
                "it is written once or never: send the request again with the same Idempotency-Key",
                headers={"Retry-After": "1"},
            )
        case ReadModelUnavailable():
            problem = Problem("not-ready", "the read model cannot be reached: try again", headers={"Retry-After": "1"})
        case VersionConflict():
            problem = Problem("conflict", "read it again and repeat the request")
        case _:
            raise error
    return answer(problem, request)


def invalid_request(error: RequestValidationError) -> Problem:
    """Return the problem that names each invalid field by a pointer, and never repeats what was sent."""
    errors = [(_pointer(item["loc"]), _MESSAGES.get(item["type"], str(item["msg"]))) for item in error.errors()]
    if any(item["type"] == "json_invalid" for item in error.errors()):
        return Problem("malformed-request", "the body is not JSON")
    return Problem("invalid-request", "see errors", errors=errors)


LONGEST_NAME_SHOWN: Final = 24
"""A field that is not ours is shown by the name it was given, unless that could be a secret in the wrong place."""

_MESSAGES = {"extra_forbidden": "There is no such field here", "missing": "This field is required"}


def _pointer(location: Sequence[str | int]) -> str:
    where, *whole = location
    path = list(takewhile(lambda part: len(str(part)) <= LONGEST_NAME_SHOWN, whole))
    escaped = "/".join(str(part).replace("~", "~0").replace("/", "~1") for part in path)
    return f"#/{escaped}" if where == "body" and path else "#" if where == "body" else f"{where}: {escaped}"
