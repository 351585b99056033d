"""``GET /v1/api-keys`` and ``GET /v1/api-keys/{key_id}``: the keys of the caller's organization, as of a position."""

from collections.abc import Callable
from typing import Annotated, Final

from fastapi import Depends, FastAPI, Header, Path, Query, Request, Response, Security

from keyledger.contracts.ports import Clock, Randomness
from keyledger.contracts.routes import permission_for
from keyledger.domain.identifiers import is_resource_id
from keyledger.domain.times import moment
from keyledger.projections.runner import ProjectionRunner
from keyledger.verification.freshness import Freshness
from keyledger.web.app import create_app
from keyledger.web.conditions import etag
from keyledger.web.cursors import Cursors
from keyledger.web.documents import AUTHENTICATED, BEARER, POSITION_HEADER, answered_headers, problem_answers
from keyledger.web.pages import next_link, next_link_header, refuse_repetition
from keyledger.web.positions import PositionTokens
from keyledger.web.principal import Authenticate, Principal, insufficient
from keyledger.web.problems import Problem
from keyledger.web.resources import EXAMPLE_KEY, KeyResource
from keyledger_directory.forms import EXAMPLE_CURSOR, READ_REVOKED, KeyPage, KeyQuery, NoParameters, resource
from keyledger_directory.projector import DirectoryRow, decode_secrets
from keyledger_directory.store import DirectoryStore, Question

LIST: Final = "/v1/api-keys"
ONE: Final = "/v1/api-keys/{key_id}"
WAIT_SECONDS: Final = 2.0

READ_PROBLEMS: Final = (*AUTHENTICATED, "invalid-position-token", "invalid-request", "projection-behind", "not-ready")


AtLeast = Annotated[
    str | None,
    Header(
        alias="Keyledger-At-Least",
        max_length=200,
        description="The `Keyledger-Position` of a write: the answer reflects it, or is 503 `projection-behind`",
    ),
]
IfNoneMatch = Annotated[
    str | None,
    Header(alias="If-None-Match", description='The `ETag` you have, such as `"3"`: 304 if the key is still the same'),
]
KeyId = Annotated[str, Path(description="The key's id", examples=[EXAMPLE_KEY["id"]])]


class Reflection:
    """Makes an answer reflect at least the asked position, and says which one it does."""

    def __init__(
        self,
        runner: ProjectionRunner[DirectoryRow],
        positions: Callable[[], PositionTokens],
        *,
        freshness: Freshness,
        clock: Clock,
    ) -> None:
        self._runner, self._positions, self._freshness, self._clock = runner, positions, freshness, clock

    async def __call__(self, at_least: str | None) -> dict[str, str]:
        """Wait until the position of the token is applied; return the header of the answer.

        Raises:
            Problem: ``invalid-position-token``, also where the ledger does not hold the position; ``projection-behind``
                after ``WAIT_SECONDS``, or when too many wait.
        """
        asked_at = self._clock.now()
        tokens = self._positions()
        asked = 0 if at_least is None else tokens.read(at_least)
        reached = await self._runner.wait_for(asked, timeout_seconds=WAIT_SECONDS)
        # Taken before the rows are read: they may be newer than what is said, never older.
        here = {POSITION_HEADER: tokens.write(self._runner.position)}
        if not reached and self._freshness.is_beyond(asked, asked_at=asked_at):
            raise Problem("invalid-position-token", "the ledger does not hold this position")
        if not reached:
            detail = "the position in Keyledger-At-Least is not applied here yet"
            raise Problem("projection-behind", detail, headers={"Retry-After": "1", **here})
        return here


def create_api(
    store: DirectoryStore,
    runner: ProjectionRunner[DirectoryRow],
    authenticate: Authenticate,
    *,
    positions: Callable[[], PositionTokens],
    freshness: Freshness,
    cursors: Cursors,
    clock: Clock,
    randomness: Randomness,
) -> FastAPI:
    """Return the application with this service's routes.

    ``positions`` gives the tokens of the ledger that is followed, or raises Problem ``not-ready``.
    """
    app = create_app("Keyledger directory", randomness=randomness)

    async def reader_of_list(request: Request) -> Principal:
        return await authenticate(request, permission_for("GET", LIST))

    async def reader_of_one(request: Request) -> Principal:
        return await authenticate(request, permission_for("GET", ONE))

    reflected = Reflection(runner, positions, freshness=freshness, clock=clock)

    @app.head(LIST, include_in_schema=False)
    @app.get(
        LIST,
        dependencies=[Security(BEARER)],
        summary="List API keys",
        tags=["api-keys"],
        operation_id="listApiKeys",
        responses={
            200: {"headers": answered_headers(POSITION_HEADER) | next_link_header(LIST, EXAMPLE_CURSOR)},
            **problem_answers(*READ_PROBLEMS),
        },
    )
    async def list_keys(
        request: Request,
        response: Response,
        caller: Annotated[Principal, Depends(reader_of_list)],
        query: Annotated[KeyQuery, Query()],
        at_least: AtLeast = None,
    ) -> KeyPage:
        """Keys of the caller's organization, newest first."""
        refuse_repetition(request)
        if query.status == "revoked" and not caller.allows(READ_REVOKED):
            raise insufficient(READ_REVOKED)
        question = _question(caller, query)
        before = None if query.cursor is None else cursors.read(query.cursor, question, int)
        response.headers.update(await reflected(at_least))
        now = clock.now()
        found = await store.list(question, now=now, before=before, limit=query.limit + 1)
        data = [resource(key, moment(now)) for key in found[: query.limit]]
        if len(found) <= query.limit:
            return KeyPage(data=data, next_cursor=None)
        next_cursor = cursors.write(question, found[query.limit - 1].row.created_position)
        response.headers["Link"] = next_link(request, next_cursor)
        return KeyPage(data=data, next_cursor=next_cursor)

    @app.head(ONE, include_in_schema=False, response_model=KeyResource)
    @app.get(
        ONE,
        dependencies=[Security(BEARER)],
        summary="Get an API key",
        tags=["api-keys"],
        operation_id="getApiKey",
        response_model=KeyResource,
        responses={
            200: {"headers": answered_headers("ETag", POSITION_HEADER)},
            304: {"description": "The key is as `If-None-Match` knows it", "headers": answered_headers("ETag")},
            **problem_answers(*READ_PROBLEMS, "not-found"),
        },
    )
    async def get_key(
        response: Response,
        caller: Annotated[Principal, Depends(reader_of_one)],
        key_id: KeyId,
        _query: Annotated[NoParameters, Query()],
        if_none_match: IfNoneMatch = None,
        at_least: AtLeast = None,
    ) -> KeyResource | Response:
        """One key of the caller's organization. A revoked one answers like one that never was: 404."""
        headers = await reflected(at_least)
        key = await store.find(caller.organization_id, key_id) if is_resource_id(key_id, "key") else None
        if key is None:
            raise Problem("not-found", "there is no such API key", headers=headers)
        found = resource(key, moment(clock.now()))
        headers["ETag"] = etag(key.version)
        # A key expires, and a grace ends, without a new version: who has seen it before must see that, whatever its
        # ETag says.
        as_it_was = found.status == "active" and len(found.secrets) == len(decode_secrets(key.row.secrets))
        if as_it_was and matches(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        response.headers.update(headers)
        return found

    return app


def matches(if_none_match: str | None, current: str) -> bool:
    """Say whether the header names this ETag, by weak comparison (RFC 9110, 13.1.2)."""
    if if_none_match is None:
        return False
    named = [part.strip().removeprefix("W/") for part in if_none_match.split(",")]
    return "*" in named or current in named


def _question(caller: Principal, query: KeyQuery) -> Question:
    return Question(
        organization_id=caller.organization_id,
        type=query.type,
        owner_id=query.owner_id,
        role=query.role,
        environment=query.environment,
        status=query.status,
    )
