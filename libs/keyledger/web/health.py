"""``/livez``, ``/readyz`` and ``/metrics`` of a process, in front of its application."""

import json
from collections.abc import Callable

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Receive, Scope, Send

Unready = Callable[[], str | None]
"""Says why the process must not get requests now; None when it may."""


class Health:
    """Answers the probes of one process and passes everything else on."""

    def __init__(self, app: ASGIApp, *, unready: Unready, registry: CollectorRegistry) -> None:
        self._app, self._unready, self._registry = app, unready, registry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        match scope.get("path"):
            case "/livez":
                await _answer(send, 200, b'{"status":"alive"}')
            case "/readyz":
                why = self._unready()
                body = {"status": "ready"} if why is None else {"status": "not ready", "why": why}
                await _answer(send, 200 if why is None else 503, json.dumps(body).encode())
            case "/metrics":
                await _answer(send, 200, generate_latest(self._registry), CONTENT_TYPE_LATEST)
            case _:
                await self._app(scope, receive, send)


async def _answer(send: Send, status: int, body: bytes, content_type: str = "application/json") -> None:
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
