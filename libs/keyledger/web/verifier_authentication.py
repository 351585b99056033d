"""Authentication of the services that read: by the verifier node that they embed."""

from collections.abc import Sequence

from fastapi import Request

from keyledger.contracts.ports import Clock
from keyledger.verification.node import VerifierNode
from keyledger.verification.source import Network, SourceAddresses
from keyledger.verification.verdict import Ask
from keyledger.web.credentials import bearer_token
from keyledger.web.principal import Principal, insufficient, refused


class VerifierAuthentication:
    """Asks the node for the caller of each request; the node records every attempt."""

    def __init__(self, node: VerifierNode, *, clock: Clock, trusted_proxies: Sequence[Network] = ()) -> None:
        self._node, self._clock, self._sources = node, clock, SourceAddresses(trusted_proxies)

    async def __call__(self, request: Request, permission: str) -> Principal:
        """Return the caller of a request that needs a permission.

        Raises:
            Problem: the verdict's code: 401, 403 ``insufficient-permission``, 503 ``verifier-stale``.
        """
        peer = request.client.host if request.client else None
        ask = Ask(
            self._clock.now(),
            permission,
            self._sources.of(peer, request.headers.getlist("x-forwarded-for")),
            request.scope.get("keyledger.request_id"),
        )
        verdict = self._node.verify(bearer_token(request), ask, surface="management")
        if verdict.code == "insufficient-permission":
            raise insufficient(permission)
        if (
            not verdict.valid
            or verdict.organization_id is None
            or verdict.key_id is None
            or verdict.owner_type is None
            or verdict.owner_id is None
        ):
            raise refused(verdict.code)
        return Principal(
            organization_id=verdict.organization_id,
            operator=verdict.operator,
            key_id=verdict.key_id,
            owner_type=verdict.owner_type,
            owner_id=verdict.owner_id,
            authority=verdict.authority,
        )
