"""``Idempotency-Key``: a request that is sent twice is carried out once.

Source: draft-ietf-httpapi-idempotency-key-header. Its scope is organization, actor, method, path and key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from typing import Annotated

import msgspec
from fastapi import Header, Request

from keyledger.eventstore.port import IdempotencyClaim
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=255,
        pattern=r"^[\x21-\x7e]+$",
        description="Any string of yours. Sent again within 24 hours with the same query and body, the request is not "
        "repeated.",
    ),
]


async def claim_for(request: Request, principal: Principal, key: str | None, status: int) -> IdempotencyClaim | None:
    """Return the claim that this request makes; None without a key. Query and body are judged by their bytes."""
    if key is None:
        return None
    query = f"?{request.url.query}".encode() if request.url.query else b""
    scope = (principal.organization_id, principal.owner_id, request.method, request.url.path, key)
    return IdempotencyClaim(
        scope=sha256(msgspec.json.encode(scope)).digest(),
        request_digest=sha256(await request.body() + query).digest(),
        status=status,
    )


class InFlight:
    """The claims whose requests this process is carrying out at the moment."""

    def __init__(self) -> None:
        self._scopes: set[bytes] = set()

    @contextmanager
    def hold(self, claim: IdempotencyClaim | None) -> Iterator[None]:
        """Keep others with the same claim out for the time of the block.

        Raises:
            Problem: ``request-in-flight``: another request with this claim is inside.
        """
        if claim is None:
            yield
            return
        if claim.scope in self._scopes:
            raise Problem(
                "request-in-flight", "wait for its answer, or send it again later", headers={"Retry-After": "1"}
            )
        self._scopes.add(claim.scope)
        try:
            yield
        finally:
            self._scopes.discard(claim.scope)
