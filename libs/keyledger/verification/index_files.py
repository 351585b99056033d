"""Where the generations of a node's index lie, which of them serves, and who writes.

A folder for each generation, and two names beside them: ``serving``, replaced atomically, and ``offered``.
"""

import fcntl
import os
import re
import shutil
from pathlib import Path
from typing import Final

from keyledger.projections.port import Generation

_SERVING: Final = "serving"
_OFFERED: Final = "offered"
_LOCK: Final = "writer.lock"
_FOLDER: Final = re.compile(r"generation-(\d+)(?:\.(\d+))?")


class IndexInUse(Exception):
    """Another writer has this index open: each node needs a folder of its own."""


class IndexFiles:
    """The files of one node's index."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def of(self, generation: Generation) -> Path:
        """Return the folder of a generation."""
        build = f".{generation.build}" if generation.build else ""
        return self.folder / f"generation-{generation.number}{build}"

    def held(self) -> list[Generation]:
        """Return the generations that there are, the oldest first."""
        found = (_FOLDER.fullmatch(path.name) for path in self.folder.glob("generation-*"))
        return sorted(Generation(int(name[1]), int(name[2] or 0)) for name in found if name is not None)

    def serving(self) -> Generation | None:
        """Return the generation that verdicts come from; None where there is none yet."""
        named = self._read(_SERVING)
        if named is not None:
            return named
        held = self.held()
        return held[0] if held else None

    def offered(self) -> Generation | None:
        """Return the generation that was built and compared, and may take the serving one's place."""
        return self._read(_OFFERED)

    def serve(self, generation: Generation) -> None:
        """Let verdicts come from this generation from now on: one rename."""
        if self._read(_SERVING) != generation:
            self._write(_SERVING, generation)
        if self.offered() == generation:
            self.withdraw()

    def offer(self, generation: Generation) -> None:
        """Let it take the serving one's place, as soon as the node looks."""
        self._write(_OFFERED, generation)

    def withdraw(self) -> None:
        """Offer nothing any more."""
        (self.folder / _OFFERED).unlink(missing_ok=True)

    def remove(self, generation: Generation) -> None:
        """Delete a generation's folder.

        Raises:
            IndexInUse: somebody writes it.
        """
        folder = self.of(generation)
        if folder.exists():
            lock = lock_folder(folder)
            shutil.rmtree(folder)
            os.close(lock)

    def _read(self, name: str) -> Generation | None:
        try:
            number, _, build = (self.folder / name).read_text(encoding="ascii").strip().partition(".")
        except FileNotFoundError:
            return None
        return Generation(int(number), int(build))

    def _write(self, name: str, generation: Generation) -> None:
        new = self.folder / f".{name}"
        write_durably(new, str(generation))
        new.replace(self.folder / name)
        sync(self.folder)


def lock_folder(folder: Path) -> int:
    """Return what holds a generation's folder for its one writer, until it is closed. Raises IndexInUse."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise IndexInUse(f"the index in {folder} is open already: each node needs a folder of its own") from None
    return descriptor


def write_durably(path: Path, text: str) -> None:
    """Return when the file is on the disk."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, text.encode())
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    sync(path.parent)


def sync(folder: Path) -> None:
    """Return when the folder's names are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
