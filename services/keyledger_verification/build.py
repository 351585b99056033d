"""The verification service, put together from its ports."""

from collections.abc import Callable

from starlette.types import ASGIApp

from keyledger.eventlog.port import EventLog
from keyledger.runtime.process import INDEX_PREFIX, Process
from keyledger.verification.asgi import VerifyApp
from keyledger.verification.index_rebuilding import IndexRebuildable
from keyledger.verification.node import VerifierNode
from keyledger.verification.peppers import Peppers
from keyledger.web.positions import FollowedPositions
from keyledger.web.problems import Problem


class VerificationService:
    """The verify route and the node behind it, which ``run`` runs."""

    def __init__(self, app: ASGIApp, node: VerifierNode) -> None:
        self.app = app
        self._node = node

    async def run(self) -> None:
        """Keep the node going until cancelled. Raises what ``VerifierNode.run`` raises: somebody has to look."""
        await self._node.run()

    def unready(self) -> str | None:
        """Say why requests must not come: the node is not ready yet, or has become stale. None when they may."""
        return self._node.unready()

    async def close(self) -> None:
        """Nothing: the ports belong to whoever opened them."""


def build(
    process: Process,
    node: VerifierNode,
    *,
    peppers: Peppers,
) -> VerificationService:
    """Return the service; nothing is connected before ``run``."""
    positions = FollowedPositions(lambda: node.freshness.store, peppers)
    app = VerifyApp(
        node,
        write_position=lambda position: positions.tokens().write(position),
        read_position=reader_of(positions),
        clock=process.clock,
        randomness=process.randomness,
        trusted_proxies=process.settings.trusted_proxies,
    )
    return VerificationService(app, node)


def rebuildables(process: Process, event_log: EventLog) -> list[IndexRebuildable]:
    """Return the indexes of all nodes that this data folder holds, as an operator sees them."""
    settings = process.settings
    return [
        IndexRebuildable(
            folder,
            node=folder.name.removeprefix(INDEX_PREFIX),
            size_mb=settings.index_size_mb,
            log=event_log,
            clock=process.clock,
        )
        for folder in sorted(settings.data_dir.glob(f"{INDEX_PREFIX}*"))
    ]


def reader_of(positions: FollowedPositions) -> Callable[[str], int | None]:
    """Return what reads a token, and says None where it is not one of the ledger that is followed."""

    def read(token: str) -> int | None:
        try:
            return positions.tokens().read(token)
        except Problem:
            return None

    return read
