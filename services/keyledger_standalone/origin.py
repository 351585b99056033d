"""The one public origin in one process: each request goes to the service that the route table names."""

from collections.abc import Mapping
from functools import lru_cache

from starlette.types import ASGIApp, Receive, Scope, Send

from keyledger.contracts.routes import Route, Service, find

_LONGEST_REMEMBERED = 128
_find_remembered = lru_cache(maxsize=4096)(find)


def find_cached(method: str, path: str) -> tuple[Route | None, tuple[str, ...]]:
    """Return what ``find`` does. Ids make paths many: the cache is bounded, and a miss costs some microseconds."""
    # A stranger may send paths of 64 KiB, and must not fill the memory with them.
    return _find_remembered(method, path) if len(path) <= _LONGEST_REMEMBERED else find(method, path)


class Origin:
    """Dispatches by method and path.

    A known path with another method goes to who knows the path, and is refused there; an unknown one to ``elsewhere``.
    """

    def __init__(
        self, services: Mapping[Service, ASGIApp], documents: Mapping[str, bytes], *, elsewhere: ASGIApp
    ) -> None:
        self._services, self._documents, self._elsewhere = services, documents, elsewhere

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        document = self._documents.get(scope["path"])
        if document is not None:
            await _answer(send, document)
            return
        route, allowed = find_cached(scope["method"], scope["path"])
        if route is None and allowed:
            route, _ = find_cached(allowed[0], scope["path"])
        app = self._elsewhere if route is None else self._services[route.service]
        await app(scope, receive, send)


async def _answer(send: Send, document: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(document)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": document})
