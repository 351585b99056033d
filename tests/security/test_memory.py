"""What strangers send must not stay."""

import tracemalloc

from keyledger_standalone.origin import find_cached


def test_long_paths_are_not_remembered() -> None:
    tracemalloc.start()
    try:
        for number in range(2_000):
            find_cached("GET", f"/{number}".ljust(60_000, "x"))
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < 10_000_000  # remembered, they were 120 MB
