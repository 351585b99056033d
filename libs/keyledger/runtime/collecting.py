"""How often Python looks for cycles of garbage: seldom, and not among what stays for good.

Its defaults are for small programs. Half of the time in which the relay made records was spent on looking at them, and
a full pass over all modules stops the loop for tens of milliseconds.
"""

import gc
from typing import Final

YOUNG_OBJECTS: Final = 10_000
"""Made and not freed yet, before the youngest are looked at (Python's own: 700). Reference counts free nearly all."""


def collect_seldom() -> None:
    """Raise the threshold of this process."""
    gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])


def keep_for_good() -> None:
    """Take everything that is alive now out of all later passes: modules, routes, schemas. Call once, when ready."""
    gc.collect()
    gc.freeze()
