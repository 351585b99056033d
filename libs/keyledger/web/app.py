"""The FastAPI application that every service starts from: problems, request ids, no caching, closed bodies."""

import re
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import Response
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from keyledger.contracts.ports import Randomness
from keyledger.web import problems
from keyledger.web.documents import complete_examples, name_media_types

MAX_BODY_BYTES = 256 * 1024
REQUEST_ID_HEADER = "Keyledger-Request-Id"
_REQUEST_ID = re.compile(r"(?!.{0,13}_[0-9A-Za-z]{22}_[0-9A-Za-z]{27})[A-Za-z0-9._-]{1,64}")
"""A token would have this form too. Sent in the wrong header, its secret would stand in events for ever."""
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")


class RequestContext:
    """Gives each request an id (the caller's own, if well-formed), passes ``traceparent`` on, and bounds its body."""

    def __init__(self, app: ASGIApp, randomness: Randomness) -> None:
        self._app, self._randomness = app, randomness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get(REQUEST_ID_HEADER, "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"req_{self._randomness.token_hex(12)}"
        traceparent = headers.get("traceparent", "")
        if scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}  # the server leaves the body out (RFC 9110, 9.3.2)
        scope["keyledger.request_id"] = request_id
        scope["keyledger.traceparent"] = traceparent if _TRACEPARENT.fullmatch(traceparent) else None

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                answered = MutableHeaders(scope=message)
                answered[REQUEST_ID_HEADER] = request_id
                answered.setdefault("Cache-Control", "no-store")
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, bounded(receive), send_with_id)


class BodyTooLarge(Exception):
    """A request body that is longer than ``MAX_BODY_BYTES``."""


def bounded(receive: Receive) -> Receive:
    """Return ``receive`` that refuses to read more than the allowed body."""
    received = 0

    async def receive_bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > MAX_BODY_BYTES:
            raise BodyTooLarge
        return message

    return receive_bounded


class _Application(FastAPI):
    """FastAPI that documents problems as problems."""

    def openapi(self) -> dict[str, Any]:
        """Return this service's part of the OpenAPI document."""
        if self.openapi_schema is None:
            self.openapi_schema = complete_examples(name_media_types(super().openapi()))
        return self.openapi_schema


def create_app(title: str, *, randomness: Randomness, **more: Any) -> FastAPI:
    """Return an application without routes. Its documents are served by the origin, not by each service."""
    app = _Application(
        title=title,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"tracing": False, "metrics": False, "logs": False},  # it asks at each request whether it is wanted
        **more,
    )
    problems.install(app)
    app.add_middleware(RequestContext, randomness=randomness)

    @app.exception_handler(BodyTooLarge)
    async def _(request: Request, _error: BodyTooLarge) -> Response:
        return problems.answer(problems.Problem("request-too-large", f"at most {MAX_BODY_BYTES} bytes"), request)

    @app.exception_handler(ClientDisconnect)
    async def _(request: Request, _error: ClientDisconnect) -> Response:
        # Nobody hears it. Taken for a failure, each one would be two traces in the log.
        return problems.answer(problems.Problem("malformed-request", "the body ended early"), request)

    return app
