"""How a route of the table gets into the application: authenticated before all else, and documented."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Final

from fastapi import APIRouter, Depends, Request, Security
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel

from keyledger.contracts.routes import Method, permission_for
from keyledger.web.documents import AUTHENTICATED, BEARER, answered_headers, problem_answers
from keyledger.web.principal import Principal
from keyledger_commands.authentication import LedgerAuthentication

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
    """Collects routes of this service's router."""

    def __init__(self, authentication: LedgerAuthentication) -> None:
        self.router = APIRouter()
        self._authentication = authentication

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
    ) -> None:
        """Add a route. Its permission comes from the route table; its promise from the endpoint's docstring."""
        described: dict[int | str, dict[str, Any]] = {status: {"headers": answered_headers(*headers)}}
        known: dict[str, Any] = {
            "dependencies": [Depends(self._before(permission_for(method, path))), Security(BEARER)],
            "status_code": status,
            "summary": summary,
            "tags": [tag],
            "responses": described | problem_answers(*problems),
            "response_model": answer,
            "response_class": Response if answer is None else _Json,
            "openapi_extra": body,
        }
        self.router.add_api_route(path, endpoint, methods=[method], operation_id=operation_id, **known)
        if method == "GET":  # RFC 9110, 9.3.2: whatever can be got can be asked about
            self.router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False, **known)

    def _before(self, permission: str) -> Callable[[Request], Coroutine[Any, Any, None]]:
        """Return the dependency that runs first, so that a stranger learns nothing of what else is wrong."""

        async def authenticate(request: Request) -> None:
            request.state.again = partial(self._authentication.again, request, permission)
            request.state.principal = await self._authentication(request, permission)

        return authenticate


class _Json(JSONResponse):
    """For the document alone, which describes no other class of answers by its model; endpoints make their own."""


async def principal_again(request: Request) -> Principal:
    """Return the caller as the ledger has it now, after something else has changed.

    Raises:
        Problem: the caller was revoked meanwhile, or may not do this any more.
    """
    request.state.principal = await request.state.again()
    return principal_of(request)


def principal_of(request: Request) -> Principal:
    """Return the caller that the route has authenticated."""
    principal = request.state.principal
    if not isinstance(principal, Principal):
        raise TypeError("this route does not authenticate")
    return principal
