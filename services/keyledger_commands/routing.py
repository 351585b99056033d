"""How a route of the table gets into the application: authenticated before all else, and documented."""

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar, Final

from fastapi import FastAPI, Request, Security
from fastapi.dependencies.utils import request_params_to_args
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.routing import APIRoute
from pydantic import BaseModel

from keyledger.contracts.routes import Method, permission_for
from keyledger.web.documents import AUTHENTICATED, BEARER, POSITION_HEADER, answered_headers, problem_answers
from keyledger_commands.authentication import LedgerAuthentication
from keyledger_commands.caller import Caller

WRITE_PROBLEMS: Final = (
    *AUTHENTICATED,
    "malformed-request",
    "request-in-flight",
    "conflict",
    "request-too-large",
    "invalid-request",
    "idempotency-mismatch",
    "ledger-unavailable",
    "outcome-unknown",
)
"""What every write may answer besides its own."""

WRITTEN: Final = ("ETag", POSITION_HEADER, "Idempotency-Replayed")
"""The headers of every write's answer."""

READ_PROBLEMS: Final = (
    *AUTHENTICATED,
    "invalid-position-token",
    "not-found",
    "invalid-request",
    "ledger-unavailable",
)
"""What every read may answer."""


Endpoint = Callable[..., Coroutine[Any, Any, Response]]


class Routes:
    """Adds routes of this service to its application."""

    def __init__(self, app: FastAPI, authentication: LedgerAuthentication) -> None:
        self._app, self._authentication = app, authentication

    def add(
        self,
        method: Method,
        path: str,
        endpoint: Endpoint,
        *,
        operation_id: str,
        summary: str,
        tag: str,
        problems: tuple[str, ...],
        headers: tuple[str, ...],
        status: int = 200,
        answer: type[BaseModel] | None = None,
        body: dict[str, Any] | None = None,
        paged: dict[str, Any] | None = None,
    ) -> None:
        """Add a route. Its permission comes from the route table; its promise from the endpoint's docstring.

        ``paged``: the header that leads to a list's next page.
        """

        class Route(_AuthenticatedRoute):
            authentication = self._authentication
            permission = permission_for(method, path)
            reads = method == "GET"

        described: dict[int | str, dict[str, Any]] = {
            status: {"headers": answered_headers(*headers) | (paged or {})},
        }
        known: dict[str, Any] = {
            "dependencies": [Security(BEARER)],
            "status_code": status,
            "summary": summary,
            "tags": [tag],
            "responses": described | problem_answers(*problems),
            "response_model": answer,
            "response_class": Response if answer is None else _Json,
            "openapi_extra": body,
            "route_class_override": Route,
        }
        # Into the application's own router: an included one is searched through two more layers (30 us in a profile).
        add = self._app.router.add_api_route
        add(path, endpoint, methods=[method], operation_id=operation_id, **known)
        if method == "GET":  # RFC 9110, 9.3.2: whatever can be got can be asked about
            add(path, endpoint, methods=["HEAD"], include_in_schema=False, **known)


class _AuthenticatedRoute(APIRoute):
    """A route that authenticates first, so that a stranger learns nothing of what else is wrong.

    Its endpoint takes the request, texts of the path, headers and the query. FastAPI documents them; its own way
    to call an endpoint, made for dependencies of any kind, takes 90 us (in a profile of a create).
    """

    authentication: ClassVar[LedgerAuthentication]
    permission: ClassVar[str]
    reads: ClassVar[bool]

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return what answers a request of this route."""
        endpoint: Endpoint = self.endpoint

        async def handle(request: Request) -> Response:
            caller = request.state.caller = Caller(self.authentication, request, self.permission)
            try:
                await (caller.prove() if self.reads else caller.presume())
                return await endpoint(request, **request.path_params, **self._headers(request), **self._query(request))
            except Exception as failure:
                await caller.settle(failure)
                raise

        return handle

    def _headers(self, request: Request) -> dict[str, Any]:
        sent = [field for field in self.dependant.header_params if field.alias in request.headers]
        return _valid(*request_params_to_args(sent, request.headers))

    def _query(self, request: Request) -> dict[str, Any]:
        asked = self.dependant.query_params
        return _valid(*request_params_to_args(asked, request.query_params)) if asked else {}


def _valid(given: dict[str, Any], errors: list[Any]) -> dict[str, Any]:
    if errors:
        raise RequestValidationError(errors)
    return given


class _Json(JSONResponse):
    """For the document alone, which describes no other class of answers by its model; endpoints make their own."""
