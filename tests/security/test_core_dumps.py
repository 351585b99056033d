"""A process that crashes leaves no picture of its memory: the master, passwords and tokens are in it."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.local.ports import free_port
from tests.e2e.profiles import PROGRAM, environment, wait_until_ready

UNLIMITED = (
    "import os, resource, sys\n"
    "most = resource.getrlimit(resource.RLIMIT_CORE)[1]\n"
    "resource.setrlimit(resource.RLIMIT_CORE, (most, most))\n"
    "os.execv(sys.argv[1], sys.argv[1:])\n"
)
"""Become the program that is named, with cores as large as they may be: what an operator's shell may have set."""

LOCKS = """
import ctypes, resource
from keyledger.runtime.core_dumps import forbid_core_dumps
resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
libc = ctypes.CDLL(None)
PR_GET_DUMPABLE = 3
print(libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0))
forbid_core_dumps()
print(libc.prctl(PR_GET_DUMPABLE, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE))
"""


def started(folder: Path, command: list[str], environ: dict[str, str], *, stdout: int | None = None) -> "Watched":
    unlimited = [sys.executable, "-c", UNLIMITED, *command]
    return Watched(subprocess.Popen(unlimited, cwd=folder, env=environ, stdout=stdout, stdin=subprocess.DEVNULL))


class Watched:
    """A child whose raw wait status is looked at: only that says whether the kernel dumped a core, wherever to."""

    def __init__(self, child: subprocess.Popen[bytes]) -> None:
        self.child = child

    def crash(self, number: signal.Signals) -> bool:
        """Let it die of ``number``; return whether its core was dumped."""
        self.child.send_signal(number)
        _, status = os.waitpid(self.child.pid, 0)
        self.child.returncode = -os.WTERMSIG(status)
        assert os.WTERMSIG(status) == number
        return os.WCOREDUMP(status)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT], ids=lambda number: number.name)
def test_a_crash_leaves_no_core(tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    keyledger = started(tmp_path, [PROGRAM, "serve"], environment(tmp_path / "data", port))
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", keyledger.child)
        limits = Path(f"/proc/{keyledger.child.pid}/limits").read_text(encoding="ascii")
        dumped = keyledger.crash(number)
    finally:
        keyledger.child.kill()
    assert not dumped
    assert limits.partition("Max core file size")[2].split()[:2] == ["0", "0"]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_without_the_locks_the_same_crash_is_dumped(tmp_path: Path) -> None:
    code = "import time; print('up', flush=True); time.sleep(600)"
    naive = started(tmp_path, [sys.executable, "-c", code], dict(os.environ), stdout=subprocess.PIPE)
    assert naive.child.stdout is not None
    try:
        assert naive.child.stdout.readline() == b"up\n"
        dumped = naive.crash(signal.SIGSEGV)
    finally:
        naive.child.kill()
        naive.child.stdout.close()
    if not dumped:
        pytest.skip("this machine dumps nobody's core: nothing to compare with")


def test_both_locks_are_closed() -> None:
    """Each for itself, because a machine whose core_pattern is a pipe obeys the flag alone."""
    done = subprocess.run([sys.executable, "-c", LOCKS], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split() == ["1", "0", "0", "0"]
