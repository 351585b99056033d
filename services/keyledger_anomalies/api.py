"""``GET /v1/alerts``: what the detectors have said about the caller's organization."""

from typing import Annotated, Final

from fastapi import Depends, FastAPI, Query, Request, Response, Security

from keyledger.contracts.ports import Randomness
from keyledger.contracts.routes import permission_for
from keyledger.domain.times import microseconds
from keyledger.web.app import create_app
from keyledger.web.cursors import Cursors
from keyledger.web.documents import AUTHENTICATED, BEARER, problem_answers
from keyledger.web.pages import next_link, next_link_header, refuse_repetition
from keyledger.web.principal import Authenticate, Principal
from keyledger_anomalies.forms import EXAMPLE_CURSOR, AlertPage, AlertQuery, resource
from keyledger_anomalies.store import AlertStore, Place

LIST: Final = "/v1/alerts"


def create_api(alerts: AlertStore, authenticate: Authenticate, *, cursors: Cursors, randomness: Randomness) -> FastAPI:
    """Return the application with this service's route."""
    app = create_app("Keyledger anomalies", randomness=randomness)

    async def reader(request: Request) -> Principal:
        return await authenticate(request, permission_for("GET", LIST))

    @app.head(LIST, include_in_schema=False)
    @app.get(
        LIST,
        dependencies=[Security(BEARER)],
        summary="List alerts",
        tags=["alerts"],
        operation_id="listAlerts",
        responses={
            200: {"headers": next_link_header(LIST, EXAMPLE_CURSOR)},
            **problem_answers(*AUTHENTICATED, "invalid-request", "not-ready"),
        },
    )
    async def list_alerts(
        request: Request,
        response: Response,
        caller: Annotated[Principal, Depends(reader)],
        query: Annotated[AlertQuery, Query()],
    ) -> AlertPage:
        """Alerts of the caller's organization, newest first; the operator's also shows those of no organization."""
        refuse_repetition(request)
        since = microseconds(query.since)
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
        response.headers["Link"] = next_link(request, next_cursor)
        return AlertPage(data=data, next_cursor=next_cursor)

    return app
