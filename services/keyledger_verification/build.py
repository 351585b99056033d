"""The verification service, put together from its ports."""

import asyncio

from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from keyledger.contracts.ports import Clock, Randomness
from keyledger.runtime.settings import Settings
from keyledger.verification.asgi import VerifyApp
from keyledger.verification.node import VerifierNode
from keyledger.verification.peppers import Peppers
from keyledger.web.positions import PositionTokens, position_tokens
from keyledger.web.problems import Problem
from keyledger_verification.metrics import register


class VerificationService:
    """The verify route and the node behind it. ``owns_node``: ``run`` runs the node; else whoever shares it does."""

    def __init__(self, app: ASGIApp, node: VerifierNode, *, owns_node: bool) -> None:
        self.app = app
        self._node, self._owns_node = node, owns_node

    async def run(self) -> None:
        """Keep the node going until cancelled. Raises what ``VerifierNode.run`` raises: somebody has to look."""
        if self._owns_node:
            await self._node.run()
        else:
            await asyncio.Event().wait()

    def unready(self) -> str | None:
        """Say why requests must not come yet; None once the node is registered and has consumed the ledger."""
        return self._node.unready()

    async def close(self) -> None:
        """Nothing: the ports belong to whoever opened them."""


def build(
    node: VerifierNode,
    *,
    peppers: Peppers,
    settings: Settings,
    clock: Clock,
    randomness: Randomness,
    registry: CollectorRegistry,
    owns_node: bool,
) -> VerificationService:
    """Return the service; nothing is connected before ``run``."""
    positions = Positions(node, peppers)
    app = VerifyApp(
        node,
        write_position=positions.write,
        read_position=positions.read,
        clock=clock,
        randomness=randomness,
        trusted_proxies=settings.trusted_proxies,
    )
    register(registry, node, clock)
    return VerificationService(app, node, owns_node=owns_node)


class Positions:
    """The position tokens of the ledger that the node follows: which one it is, the node learns from the log."""

    def __init__(self, node: VerifierNode, peppers: Peppers) -> None:
        self._node, self._peppers = node, peppers
        self._known: dict[str, PositionTokens] = {}

    def write(self, position: int) -> str:
        """Return the token of a position that the node has applied."""
        return self._tokens().write(position)

    def read(self, token: str) -> int | None:
        """Return the position that the token names; None where it is not one of this ledger."""
        if not self._node.freshness.store:
            return None
        try:
            return self._tokens().read(token)
        except Problem:
            return None

    def _tokens(self) -> PositionTokens:
        store = self._node.freshness.store
        if store not in self._known:
            self._known[store] = position_tokens(store, self._peppers)
        return self._known[store]
