"""A disk that fills up: a small file system of a run's own, and a process whose files may grow no more."""

import contextlib
import errno
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

BALLAST: Final = "ballast"
CHUNK_BYTES: Final = 1 << 20


class SmallDisk:
    """A file system in memory, which refuses what does not fit with ENOSPC, as a full disk does."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self) -> None:
        """Leave no room at all."""
        step = CHUNK_BYTES
        with (self.folder / BALLAST).open("ab", buffering=0) as ballast:
            while step:
                try:
                    ballast.write(bytes(step))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2

    def free(self) -> None:
        """Make room again."""
        (self.folder / BALLAST).unlink(missing_ok=True)


def may_mount() -> bool:
    """Say whether this process may make file systems: root mostly may, a container's root sometimes not."""
    tried = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False
    )
    return tried.returncode == 0


@contextmanager
def small_disk(folder: Path, *, size_mb: int) -> Iterator[SmallDisk]:
    """Give a file system of this size, mounted on ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mb}m,mode=0711"
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "none", str(folder)], check=True, capture_output=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


@contextmanager
def files_may_not_grow(pid: int, beyond_bytes: int) -> Iterator[None]:
    """Refuse a process, with EFBIG, every byte that it would write further back in any file."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (beyond_bytes, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
