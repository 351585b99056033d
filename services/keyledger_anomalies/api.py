"""``GET /v1/alerts``: what the detectors have said about the caller's organization."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Query, Request, Response, Security
from fastapi.security import HTTPBearer

from keyledger.contracts.ports import Randomness
from keyledger.contracts.routes import permission_for
from keyledger.projections.port import ReadModelUnavailable
from keyledger.web import problems
from keyledger.web.app import create_app
from keyledger.web.cursors import Cursors
from keyledger.web.documents import AUTHENTICATED, problem_answers
from keyledger.web.principal import Authenticate, Principal
from keyledger.web.problems import Problem
from keyledger_anomalies.forms import EXAMPLE_CURSOR, AlertPage, AlertQuery, resource
from keyledger_anomalies.store import AlertStore, Place

LIST: Final = "/v1/alerts"

_BEARER: Final = HTTPBearer(
    scheme_name="apiKey",
    bearerFormat="Keyledger API key",
    auto_error=False,
    description="An API key, as a Bearer token",
)
"""For the document alone: what is sent is judged by ``Authenticate``."""

_NEXT_LINK: Final[dict[str, Any]] = {
    "Link": {
        "description": "Where the next page is; absent on the last one",
        "schema": {"type": "string"},
        "example": f'<{LIST}?cursor={EXAMPLE_CURSOR}>; rel="next"',
    },
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def create_api(alerts: AlertStore, authenticate: Authenticate, *, cursors: Cursors, randomness: Randomness) -> FastAPI:
    """Return the application with this service's route."""
    app = create_app("Keyledger anomalies", randomness=randomness)
    app.add_exception_handler(ReadModelUnavailable, _answer_unavailable)

    async def reader(request: Request) -> Principal:
        return await authenticate(request, permission_for("GET", LIST))

    @app.head(LIST, include_in_schema=False)
    @app.get(
        LIST,
        dependencies=[Security(_BEARER)],
        summary="List alerts",
        tags=["alerts"],
        operation_id="listAlerts",
        responses={200: {"headers": _NEXT_LINK}, **problem_answers(*AUTHENTICATED, "invalid-request", "not-ready")},
    )
    async def list_alerts(
        request: Request,
        response: Response,
        caller: Annotated[Principal, Depends(reader)],
        query: Annotated[AlertQuery, Query()],
    ) -> AlertPage:
        """Alerts of the caller's organization, newest first; the operator's also shows those of no organization."""
        _refuse_repetition(request)
        since = None if query.since is None else (query.since - _EPOCH) // timedelta(microseconds=1)
        question = ("alerts", caller.organization_id, caller.operator, query.rule, since)
        after = None if query.cursor is None else cursors.read(query.cursor, question, Place)
        found = await alerts.newest(
            organization_id=caller.organization_id,
            operator=caller.operator,
            limit=query.limit + 1,
            after=after,
            rule=query.rule,
            since=since,
        )
        page = found[: query.limit]
        data = [resource(alert) for alert in page]
        if len(found) <= query.limit:
            return AlertPage(data=data, next_cursor=None)
        next_cursor = cursors.write(question, Place(page[-1].last_seen, page[-1].id))
        response.headers["Link"] = _next_link(request, next_cursor)
        return AlertPage(data=data, next_cursor=next_cursor)

    return app


def _next_link(request: Request, cursor: str) -> str:
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f'<{LIST}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


def _refuse_repetition(request: Request) -> None:
    """Refuse a parameter that is sent twice: whichever of the two was meant, the other would be ignored."""
    names = [name for name, _ in request.query_params.multi_items()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise Problem("invalid-request", "see errors", errors=[(f"query: {name}", "send it once") for name in repeated])


async def _answer_unavailable(request: Request, _error: Exception) -> Response:
    problem = Problem("not-ready", "the alerts' database cannot be reached", headers={"Retry-After": "1"})
    return problems.answer(problem, request)
