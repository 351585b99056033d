"""The masters of all peppers: from the settings, or made once in the data folder."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from keyledger.contracts import failpoints
from keyledger.runtime.settings import InvalidSettings, Settings
from keyledger.verification.peppers import MASTER_BYTES, Peppers

FILE_NAME = "pepper"


def open_peppers(settings: Settings) -> Peppers:
    """Return the peppers of this installation.

    Without ``KEYLEDGER_PEPPER`` the master is read from ``pepper`` in the data folder; the first start makes it
    (mode 0600). Whoever loses it cannot verify any key again.

    Raises:
        InvalidSettings: it is not hexadecimal, or too short.
    """
    if settings.pepper is not None:
        return _parse(settings.pepper.get_secret_value(), "KEYLEDGER_PEPPER")
    path = settings.data_dir / FILE_NAME
    if not path.exists():
        write_once(path, secrets.token_hex(MASTER_BYTES))
    return _parse(path.read_text(encoding="ascii"), f"{FILE_NAME} in KEYLEDGER_DATA_DIR")


def write_once(path: Path, secret: str) -> bool:
    """Write a secret to a new file (mode 0600), whole and durable or not at all; False if the file is there already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with _new_file(path) as (file, source):
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
            failpoints.reach("secret.before_name")
            # Unlike a rename, this fails when another process was first. A folder's descriptor makes it follow /proc.
            os.link(source, path.name, dst_dir_fd=folder)
            failpoints.reach("secret.after_name")
        os.fsync(folder)
    except FileExistsError:
        return False
    finally:
        os.close(folder)
    return True


@contextmanager
def _new_file(path: Path) -> Iterator[tuple[TextIO, str]]:
    """Give a new file beside ``path``, and what to link it by.

    It has no name where the file system can do that: a process that is killed here then leaves no copy of the secret.
    """
    temporary: Path | None = None
    try:
        descriptor = os.open(path.parent, os.O_TMPFILE | os.O_WRONLY, 0o600)
    except (AttributeError, OSError):  # not on Linux, or not on this file system; a full disk says so again below
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            yield file, f"/proc/self/fd/{descriptor}" if temporary is None else str(temporary)
    finally:
        if temporary is not None:
            temporary.unlink()


def _parse(text: str, where: str) -> Peppers:
    try:
        return Peppers([bytes.fromhex(part) for part in text.split(",")])
    except ValueError:
        raise InvalidSettings(f"{where}: masters are {2 * MASTER_BYTES} or more hexadecimal digits each") from None
