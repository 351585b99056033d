"""``GET /v1/auth/verify`` as a raw ASGI application: a framework would cost more than the check."""

import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Final

from keyledger.contracts.cloudevents import rfc3339
from keyledger.contracts.ports import Clock, Randomness
from keyledger.contracts.verdict import HTTP_STATUS
from keyledger.verification.answers import HeaderList, body_of, headers_of, problem
from keyledger.verification.asking import Asked, Refused, RequestIds, asked_permission, bearer_token, read_headers
from keyledger.verification.node import VerifierNode
from keyledger.verification.source import Network, SourceAddresses
from keyledger.verification.verdict import Ask

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

PATH: Final = "/v1/auth/verify"
AT_LEAST_SECONDS: Final = 2.0


class VerifyApp:
    """Answers the verify route, and 404 elsewhere.

    Args:
        node: the running verifier node.
        write_position: makes the position token of a ledger position.
        read_position: returns the position that a token names; None where it is not one of this ledger.
        trusted_proxies: networks whose ``X-Forwarded-For`` is believed.
        clock: the time by which tokens are judged.
        randomness: for request ids; they say nothing about how many requests there are.
    """

    def __init__(
        self,
        node: VerifierNode,
        *,
        write_position: Callable[[int], str],
        read_position: Callable[[str], int | None],
        clock: Clock,
        randomness: Randomness,
        trusted_proxies: Iterable[Network] = (),
    ) -> None:
        self._node, self._clock = node, clock
        self._request_ids = RequestIds(randomness)
        self._write_position, self._read_position = write_position, read_position
        self._sources = SourceAddresses(trusted_proxies)
        # Both change far less often than they are asked for.
        self._position: tuple[int, str] = (-1, "")
        self._fresh_as_of: tuple[int | None, str | None] = (None, None)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - a GET has no body to read
        """Answer one request. It never raises for what a caller sends."""
        if scope["type"] != "http":
            raise RuntimeError(f"this application answers HTTP only, not {scope['type']}")
        asked = read_headers(scope["headers"])
        request_id = asked.request_id or self._request_ids.next()
        try:
            status, headers, body = await self._answer(scope, asked, request_id)
        except Refused as refused:
            status, headers, body = problem(refused.code, request_id, refused.detail)
            if refused.code == "method-not-allowed":
                headers.append((b"allow", b"GET, HEAD"))
        except Exception:
            log.exception("request %s failed", request_id)
            status, headers, body = problem("internal", request_id)
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, asked: Asked, request_id: str) -> tuple[int, HeaderList, bytes]:
        if scope["path"] != PATH:
            raise Refused("not-found")
        if scope["method"] not in ("GET", "HEAD"):
            raise Refused("method-not-allowed")
        if asked.ambiguous:
            raise Refused("ambiguous-credential")
        permission = asked_permission(scope["query_string"])
        if asked.at_least is not None:
            await self._wait(asked.at_least)
        client = scope.get("client")
        source = self._sources.of(client[0] if client else None, asked.forwarded_for)
        ask = Ask(self._clock.now(), permission, source, request_id)
        verdict = self._node.verify(bearer_token(asked.authorization), ask)
        if verdict.code == "valid":
            body = body_of(verdict, self._position_token(verdict.position), self._time(verdict.fresh_as_of))
            return HTTP_STATUS["valid"], headers_of(body, request_id), body
        if verdict.code == "verifier-stale" and not self._node.started:
            return problem("not-ready", request_id)
        return problem(verdict.code, request_id)

    async def _wait(self, token: str) -> None:
        if not self._node.started:
            raise Refused("not-ready")  # it may not know yet which ledger's tokens are good
        position = self._read_position(token)
        if position is None:
            raise Refused("invalid-position-token")
        asked_at = self._clock.now()
        waited = await self._node.freshness.wait_for(position, asked_at=asked_at, timeout_seconds=AT_LEAST_SECONDS)
        if waited == "beyond":
            raise Refused("invalid-position-token", "the ledger does not hold this position")
        if waited == "behind":
            raise Refused("projection-behind")

    def _position_token(self, position: int) -> str:
        if self._position[0] != position:
            self._position = (position, self._write_position(position))
        return self._position[1]

    def _time(self, at: int | None) -> str | None:
        if self._fresh_as_of[0] != at:
            self._fresh_as_of = (at, None if at is None else rfc3339(at))
        return self._fresh_as_of[1]
