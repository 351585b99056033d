"""How every client of aiokafka is started, waited for and ended."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final

from aiokafka.errors import KafkaError

from keyledger.eventlog.kafka_security import KafkaSecurity
from keyledger.eventlog.port import LogUnavailable

FORGOTTEN_SECONDS: Final = 1.0
"""How long a start that nobody waits for any more may take to end by itself."""


class Cluster:
    """Where the cluster is, how to log in there, and how long to wait for it."""

    def __init__(self, bootstrap: str, security: KafkaSecurity, timeout_seconds: float) -> None:
        """Raises OSError where the file of certificate authorities cannot be read."""
        self.timeout_seconds = timeout_seconds
        self.options: dict[str, Any] = {
            "bootstrap_servers": bootstrap,
            "request_timeout_ms": round(timeout_seconds * 1_000),
            **security.options(),
        }

    @asynccontextmanager
    async def asked(self, what: str) -> AsyncIterator[None]:
        """Turn every way in which a cluster does not answer into LogUnavailable, within the timeout."""
        try:
            async with asyncio.timeout(self.timeout_seconds):
                yield
        except TimeoutError as error:
            raise LogUnavailable(f"{what}: no answer within {self.timeout_seconds} s") from error
        except (KafkaError, OSError, RuntimeError) as error:
            # RuntimeError: uvloop's word for writing to a connection that has just ended, which aiokafka lets through.
            raise LogUnavailable(f"{what}: {error!r}") from error

    async def start(self, client: Any) -> None:
        """Connect a producer, consumer or admin client, and leave nothing behind where that fails.

        ``start`` runs in a task of its own, which may end when we are cancelled: aiokafka 0.14 forgets, and so never
        closes, the first connection where it is cancelled between opening it and being answered on it.
        """
        starting = asyncio.create_task(client.start())
        try:
            await asyncio.shield(starting)
        except BaseException:
            try:
                await asyncio.wait([starting], timeout=FORGOTTEN_SECONDS)
            finally:  # also where we are cancelled once more, as by a stop after a timeout
                starting.cancel()
                await asyncio.wait([starting])
                await self.end(client)
            raise

    async def end(self, client: Any) -> None:
        """Disconnect a client, whatever state its cluster is in.

        ``stop`` runs in a task of its own: in aiokafka 0.14 it can wait without end (a flush to a broker that is gone)
        and can end as cancelled (by the cancelling of a fetch that was backing off), which must not look like ours.
        """
        stopping = asyncio.create_task(_stop(client))
        try:
            await asyncio.wait([stopping], timeout=self.timeout_seconds)
        finally:
            stopping.cancel()
        await asyncio.wait([stopping])
        if stopping.cancelled() or stopping.exception() is not None:
            # What stop did not come to: sockets and the task that refreshes metadata.
            await _connections(client).close()


def reads_no_more(consumer: Any) -> bool:
    """Say whether the task of a consumer that fetches has ended: it is not told, and gets nothing for ever.

    aiokafka 0.14 ends it at what it does not expect, as uvloop's RuntimeError for a connection that has just ended.
    """
    ended: bool = consumer._fetcher.error_future.done()  # noqa: SLF001 - no public way
    return ended


def sends_no_more(producer: Any) -> bool:
    """Say whether the task of a producer that sends has ended, as that of a consumer may."""
    ended: bool = producer._sender.sender_task.done()  # noqa: SLF001 - no public way
    return ended


def _stop(client: Any) -> Coroutine[Any, Any, None]:
    stop: Coroutine[Any, Any, None] = client.stop() if hasattr(client, "stop") else client.close()
    return stop


def _connections(client: Any) -> Any:
    return client.client if hasattr(client, "client") else client._client  # noqa: SLF001 - no public way
