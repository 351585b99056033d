"""Something that runs for ever, while a test's body looks at it."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any


@asynccontextmanager
async def running_beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[asyncio.Task[None]]:
    """Run it inside, and cancel it at the end. Where it falls the body ends at once, and what it fell by is raised."""
    task, body = asyncio.create_task(work), asyncio.current_task()
    assert body is not None

    def end_the_body(ended: asyncio.Task[None]) -> None:
        if not ended.cancelled() and ended.exception() is not None:
            body.cancel()

    task.add_done_callback(end_the_body)
    try:
        yield task
    except asyncio.CancelledError:
        if not task.done() or task.cancelled():
            raise
        body.uncancel()
    finally:
        task.remove_done_callback(end_the_body)
        task.cancel()
        await asyncio.wait([task])
    if not task.cancelled():
        task.result()
