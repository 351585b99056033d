"""Waiting for what other processes do, but not for one that has ended."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any, Final, TypeVar

from infra.local import ServerFailed
from tests.faults.processes import Served

T = TypeVar("T")
DEADLINE_SECONDS: Final = 180.0
LOOK_SECONDS: Final = 0.02
ATTEMPT_SECONDS: Final = 1.0
"""Between two attempts to start a server: without it five were over in a millisecond."""


async def until(holds: Callable[[], bool | Awaitable[bool]], what: str, *services: Served) -> None:
    """Return once it holds; AssertionError with ``what`` when time is over or one of the services has ended."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await _asked(holds):
                for service in services:
                    assert service.runs, f"{service.name} ended, waiting until {what}: {service.last_words()}"
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        raise AssertionError(f"not within {DEADLINE_SECONDS:.0f} s: {what}") from None


async def started(start: Callable[[], T], *, attempts: int) -> T:
    """Start a server whose place may still be taken for a moment. Raises ServerFailed of the last attempt."""
    for _ in range(attempts - 1):
        with suppress(ServerFailed):
            return await asyncio.to_thread(start)
        await asyncio.sleep(ATTEMPT_SECONDS)
    return await asyncio.to_thread(start)


@asynccontextmanager
async def meanwhile(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have something done until the body ends; raises what it fell by before that."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()


async def until_none(look: Callable[[], Awaitable[list[str]]]) -> list[str]:
    """Look until nothing is wrong any more; return what still is when time is over."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + DEADLINE_SECONDS
    while (wrong := await look()) and clock() < deadline:  # noqa: ASYNC110 - it stands in other processes
        await asyncio.sleep(LOOK_SECONDS)
    return wrong


async def _asked(holds: Callable[[], bool | Awaitable[bool]]) -> bool:
    answer = holds()
    return answer if isinstance(answer, bool) else await answer
