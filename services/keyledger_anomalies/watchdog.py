"""A consumer that reads no further although there is more to read: Faust may hang so without a word."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from keyledger.contracts.ports import Clock

LOOK_SECONDS: Final = 5.0


class DetectorStalled(Exception):
    """The detector reads no further although there is more to read: end the process, another will take over."""


async def watch_progress(
    progress: Callable[[], Mapping[Any, int]],
    behind: Callable[[], Awaitable[Sequence[str]]],
    *,
    clock: Clock,
    stall_seconds: float,
) -> NoReturn:
    """Look for ever, and raise DetectorStalled once nothing has moved for ``stall_seconds`` with more to read.

    Args:
        progress: how far each partition is.
        behind: what is left to do, for people; empty when nothing is.
        clock: measures, and waits between looks.
        stall_seconds: how long lag without progress is borne.
    """
    moved_at, seen = clock.monotonic(), progress()
    while True:
        await clock.sleep(min(LOOK_SECONDS, stall_seconds / 4))
        left, now_at = await behind(), progress()
        if now_at != seen or not left:
            moved_at, seen = clock.monotonic(), now_at
        elif clock.monotonic() - moved_at > stall_seconds:
            raise DetectorStalled(f"no progress for {stall_seconds:.0f} s: {'; '.join(left)}")
