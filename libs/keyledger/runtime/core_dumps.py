"""No core file of a process that holds the master, database passwords and tokens in its memory."""

import ctypes
import os
import sys
from typing import Final

PR_SET_DUMPABLE: Final = 4


def forbid_core_dumps() -> None:
    """Keep this process's memory out of core files, whoever started it with what limits; does nothing where none are.

    Two locks: the limit is also inherited by what the process starts, and cannot be raised again; the kernel's flag
    also holds where core_pattern pipes cores to a program, which the limit does not stop (core(5)), and keeps other
    processes of the same user from reading this one's memory and environment (ptrace(2)).

    Raises:
        OSError: the kernel refused.
    """
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415 - Windows has none

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
            number = ctypes.get_errno()
            raise OSError(number, f"core dumps cannot be switched off: {os.strerror(number)}")
