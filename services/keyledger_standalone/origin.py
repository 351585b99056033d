"""The one public origin in one process: each request goes to the service that the route table names."""

import json
from collections.abc import Mapping
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from keyledger.contracts.problems import PROBLEMS
from keyledger.contracts.routes import Route, Service, find

_LONGEST_REMEMBERED = 128
_find_remembered = lru_cache(maxsize=4096)(find)


def find_cached(method: str, path: str) -> tuple[Route | None, tuple[str, ...]]:
    """Return what ``find`` does. Ids make paths many: the cache is bounded, and a miss costs some microseconds."""
    # A stranger may send paths of 64 KiB, and must not fill the memory with them.
    return _find_remembered(method, path) if len(path) <= _LONGEST_REMEMBERED else find(method, path)


class Origin:
    """Dispatches by method and path; answers unknown paths 404 and known paths with another method 405."""

    def __init__(self, services: Mapping[Service, ASGIApp], documents: Mapping[str, bytes]) -> None:
        self._services, self._documents = services, documents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        document = self._documents.get(scope["path"])
        if document is not None:
            await _answer(send, 200, document, "application/json")
            return
        route, allowed = find_cached(scope["method"], scope["path"])
        if route is not None:
            await self._services[route.service](scope, receive, send)
        elif allowed:
            await _refuse(send, "method-not-allowed", ("allow", ", ".join(allowed)))
        else:
            await _refuse(send, "not-found")


async def _refuse(send: Send, code: str, *headers: tuple[str, str]) -> None:
    problem = PROBLEMS[code]
    body = {"type": f"urn:keyledger:problem:{code}", "title": problem.title, "status": problem.status, "code": code}
    await _answer(send, problem.status, json.dumps(body).encode(), "application/problem+json", *headers)


async def _answer(send: Send, status: int, body: bytes, content_type: str, *headers: tuple[str, str]) -> None:
    named = (
        ("content-type", content_type),
        ("content-length", str(len(body))),
        ("cache-control", "no-store"),
        *headers,
    )
    encoded = [(name.encode(), value.encode()) for name, value in named]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
