"""The masters of all peppers: from the settings, or made once in the data folder."""

import os
import secrets
from pathlib import Path

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
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="ascii") as file:
            file.write(secret + "\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # unlike a rename, this fails when another process was first
    except FileExistsError:
        return False
    finally:
        temporary.unlink()
    _sync_folder(path.parent)
    return True


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _parse(text: str, where: str) -> Peppers:
    try:
        return Peppers([bytes.fromhex(part) for part in text.split(",")])
    except ValueError:
        raise InvalidSettings(f"{where}: masters are {2 * MASTER_BYTES} or more hexadecimal digits each") from None
