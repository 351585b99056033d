"""One process: its HTTP server, its background work, and a stop that loses no request."""

import asyncio
import contextlib
import math
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Protocol

import structlog
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.types import ASGIApp

from keyledger.runtime.collecting import keep_for_good
from keyledger.runtime.http_protocol import HttpProtocol
from keyledger.runtime.settings import InvalidSettings, Settings
from keyledger.web.health import Health

log = structlog.get_logger(__name__)

NOTICE_SECONDS = 0.5
"""How long readiness is false before the server stops to accept: a gateway must have the chance to see it."""


class Service(Protocol):
    """What a service's ``build`` returns: an application, its background work and its readiness."""

    app: ASGIApp

    async def run(self) -> None:
        """Do the background work until cancelled; an exception ends the process."""
        ...

    def unready(self) -> str | None:
        """Say why requests must not come yet; None when they may."""
        ...

    async def close(self) -> None:
        """Release what ``build`` opened, after the last request."""
        ...


class _Server(uvicorn.Server):
    """uvicorn without its own signal handling: ``serve`` decides when it stops."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(
    service: Service,
    settings: Settings,
    *,
    registry: CollectorRegistry,
    when_ready: Callable[[], Awaitable[None]] | None = None,
) -> int:
    """Run the process until SIGTERM or SIGINT, and return its exit code.

    The stop: readiness fails first, requests finish, background work ends, exit 0. A background task that fails ends
    the process with exit code 1, after the same stop.
    """
    listener = _listen(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    background = asyncio.create_task(service.run())
    background.add_done_callback(lambda _: stopping.set())
    health = Health(
        service.app, unready=lambda: "stopping" if stopping.is_set() else service.unready(), registry=registry
    )
    server = http_server(health, settings.shutdown_seconds)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    serving.add_done_callback(lambda _: stopping.set())
    announcing = asyncio.create_task(_announce(service, server, when_ready))
    await stopping.wait()
    announcing.cancel()
    if server.started and not background.done():
        await asyncio.sleep(NOTICE_SECONDS)
    server.should_exit = True
    await asyncio.wait([serving])
    background.cancel()
    await asyncio.wait([background])
    await service.close()
    return _exit_code(background, serving)


def _listen(settings: Settings) -> socket.socket:
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    # Accepted connections inherit it. Without it an answer of two writes waits for the peer's delayed ACK: 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((settings.host, settings.port))
    except OSError as error:
        listener.close()
        why = error.strerror or str(error)
        raise InvalidSettings(
            f"KEYLEDGER_HOST, KEYLEDGER_PORT: {settings.host}:{settings.port} cannot be used: {why}"
        ) from None
    return listener


def http_server(app: ASGIApp, shutdown_seconds: float) -> uvicorn.Server:
    """Return the server of an application: as each of our processes has it."""
    return _Server(
        uvicorn.Config(
            app,
            http=HttpProtocol,
            ws="none",  # nothing speaks it, and uvicorn would answer the handshake with 500
            log_config=None,
            log_level="error",  # its warnings are of what strangers send: a line for each would be theirs to fill disks
            access_log=False,
            server_header=False,
            proxy_headers=False,
            lifespan="off",
            timeout_graceful_shutdown=math.ceil(shutdown_seconds),
        ),
    )


async def _announce(service: Service, server: uvicorn.Server, when_ready: Callable[[], Awaitable[None]] | None) -> None:
    # Readiness is a question to many parts, and none of them can be awaited for all of them.
    while service.unready() is not None or not server.started:  # noqa: ASYNC110 - see above
        await asyncio.sleep(0.02)
    keep_for_good()
    if when_ready is None:
        return
    try:
        await when_ready()
    except Exception as error:
        log.exception("ready, but that could not be said", error=str(error))


def _exit_code(background: asyncio.Task[None], serving: asyncio.Task[None]) -> int:
    failures: Sequence[BaseException] = [
        error for task in (background, serving) if not task.cancelled() and (error := task.exception()) is not None
    ]
    for error in failures:
        log.error("stopped by a failure", error=str(error), exc_info=error)
    return 1 if failures else 0
