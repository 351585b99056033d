"""What is fetched once for each state of the files that pin it, and kept in the project's build folder."""

import fcntl
import hashlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path


def fetched(cache: Path, pins: Sequence[Path], fetch: Callable[[Path], None]) -> Path:
    """Return the folder in `cache` for what `pins` hold now; `fetch` fills it, into the path it is given, if it is new.

    May be called by several processes at once. Raises what `fetch` raises; the folder is not there then.
    """
    digest = hashlib.sha256(b"".join(pin.read_bytes() for pin in pins)).hexdigest()[:16]
    folder = cache / digest
    if folder.is_dir():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():  # another process may have fetched it while we waited
            partial = folder.with_suffix(".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            fetch(partial)
            # Renamed when complete: a folder with this name always holds all of it.
            partial.rename(folder)
    return folder
