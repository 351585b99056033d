"""What is noted beside a generation's data: in which boot it is open, that it was whole, who asks for another try.

After a crash of the *machine* nothing is promised of the data (``sync=False``). Whether it crashed is known by the boot
id of whoever has the index open: durable before the first write, removed after the last byte was synced.
"""

import logging
import shutil
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

import msgspec

from keyledger.verification.index_files import sync, write_durably

log = logging.getLogger(__name__)

BOOT_ID_FILE: Final = Path("/proc/sys/kernel/random/boot_id")
_OPENED: Final = "opened-in-boot"
_WHOLE: Final = "data/was-whole"
"""Among the data, with which it is discarded."""
_RETRY: Final = "retry-"


def read_boot_id() -> str:
    """Return what names this run of the machine's kernel."""
    return BOOT_ID_FILE.read_text(encoding="ascii").strip()


def note_opened(folder: Path, boot_id: str) -> None:
    """Note that it is open from now on, on the disk when this returns. Data of another boot are discarded before."""
    mark, data = folder / _OPENED, folder / "data"
    if mark.exists() and data.exists() and mark.read_text(encoding="ascii").strip() != boot_id:
        log.warning("discarding the index in %s: the machine went down while it was open; it is rebuilt now", folder)
        shutil.rmtree(data)
        sync(folder)
    # It says "may be corrupt" from before the first unsynced write on, so it has to reach the disk before it.
    write_durably(mark, boot_id)


def note_closed(folder: Path) -> None:
    """Note that all of it is on the disk."""
    (folder / _OPENED).unlink(missing_ok=True)
    sync(folder)


def was_whole(folder: Path) -> bool:
    """Say whether it ever held all of the ledger that there was, whoever wrote it then: else it was never filled."""
    return (folder / _WHOLE).exists()


def note_whole(folder: Path) -> None:
    """Note that it holds all that the ledger held a moment ago."""
    try:
        (folder / _WHOLE).touch(mode=0o600)
    except OSError as error:  # the next process will only be more careful
        log.warning("that the index in %s is whole could not be noted: %s", folder, error.strerror)


def request_retry(folder: Path, streams: Collection[str]) -> None:
    """Ask to have these parked streams folded again: by a file, since the data are written by their one writer only."""
    new = folder / f".{_RETRY}{uuid4().hex}"
    new.write_bytes(msgspec.json.encode(sorted(streams)))
    new.rename(new.with_name(new.name[1:]))


def take_retry_requests(folder: Path) -> frozenset[str]:
    """Return the streams that somebody asked for since the last time."""
    return frozenset(stream for path in folder.glob(f"{_RETRY}*") for stream in _take(path))


def _take(request: Path) -> list[str]:
    """Return the streams that are asked for; what cannot be read is dropped, since it would end every start."""
    try:
        return msgspec.json.decode(request.read_bytes(), type=list[str])
    except (OSError, ValueError) as error:
        log.warning("%s asks for another try in a way that cannot be read: %s", request, type(error).__name__)
        return []
    finally:
        with suppress(OSError):
            request.unlink()
