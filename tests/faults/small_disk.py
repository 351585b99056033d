"""Disks that fail: a small one that fills up, a process whose files may grow no more, and one that loses power."""

import contextlib
import errno
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from infra.local.processes import find_program

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
    steps = "mount -t tmpfs none /mnt && truncate -s 8M /mnt/image && mkfs.ext4 -q /mnt/image && mkdir /mnt/disk"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", f"{steps} && mount -o loop /mnt/image /mnt/disk"],
        capture_output=True,
        check=False,
    )
    return tried.returncode == 0


@contextmanager
def small_disk(folder: Path, *, size_mb: int) -> Iterator[SmallDisk]:
    """Give a file system of this size, mounted on ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    options = f"size={size_mb}m,mode=0711"
    _run("mount", "-t", "tmpfs", "-o", options, "none", str(folder))
    try:
        yield SmallDisk(folder)
    finally:
        _run("umount", "--lazy", str(folder))


@contextmanager
def files_may_not_grow(pid: int, beyond_bytes: int) -> Iterator[None]:
    """Refuse a process, with EFBIG, every byte that it would write further back in any file."""
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (beyond_bytes, resource.RLIM_INFINITY))
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, before)


class PowerCutDisk:
    """A file system whose machine can lose power: what was not synced by then is gone.

    It lies in a file, as on a disk: what the kernel has not written into that file is lost with the power.
    """

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        self._image, self._after, self._cuts = image, image, 0

    def lose_power(self) -> None:
        """What is not on the disk at this moment is lost. Whoever works on it notices when it comes back."""
        self._cuts += 1
        self._after = self._image.with_name(f"image-{self._cuts}")
        _run("cp", "--sparse=always", str(self._image), str(self._after))

    def come_back(self) -> None:
        """Go on with what the disk held when the power was lost. Everything on it must be closed by now."""
        self.unmount()
        self._image.unlink()
        self._image = self._after
        self.mount()

    def mount(self) -> None:
        """Mount it; what was being written is recovered from its journal, as after a power cut."""
        # commit: the kernel writes when it is told to and not each five seconds, in the middle of our copying.
        _run("mount", "-o", "loop,commit=300", str(self._image), str(self.folder))

    def unmount(self) -> None:
        """Unmount it."""
        _run("umount", str(self.folder))


@contextmanager
def power_cut_disk(folder: Path, *, size_mb: int) -> Iterator[PowerCutDisk]:
    """Give an ext4 file system of this size, mounted on a folder in ``folder``."""
    image, mounted = folder / "image", folder / "disk"
    mounted.mkdir()
    with image.open("wb") as file:
        file.truncate(size_mb << 20)
    _run("mkfs.ext4", "-q", "-m", "0", str(image))
    disk = PowerCutDisk(mounted, image)
    disk.mount()
    try:
        yield disk
    finally:
        disk.unmount()


def _run(*command: str) -> None:
    subprocess.run([find_program(command[0]), *command[1:]], check=True, capture_output=True)
