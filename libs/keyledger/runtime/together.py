"""Several loops that stand and fall together."""

import asyncio
from collections.abc import Coroutine
from typing import Any


async def run_together(**loops: Coroutine[Any, Any, None]) -> None:
    """Run the loops, each as a task of its name, until cancelled, or until one fails.

    Then the others are cancelled, and its own error is raised: a group of one would hide from callers what failed.
    """
    try:
        async with asyncio.TaskGroup() as tasks:
            for name, loop in loops.items():
                tasks.create_task(loop, name=name)
    except BaseExceptionGroup as failed:
        raise failed.exceptions[0] from failed
