"""Which processes are ours: started detached, known by process id *and* start time, stopped by nothing else."""

import contextlib
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LOG_TAIL_LINES = 30
POLL_SECONDS = 0.05


Started = Callable[["Process"], object]
"""Told of a process the moment it exists, long before it is ready: whoever must stop it writes it down there."""


class ServerFailed(Exception):
    """A server did not become what it was started to be; the message carries the end of its log."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process started here.

    `started_ticks` is field 22 of `/proc/<pid>/stat` (proc(5)): without it, a process id that the kernel
    gave to somebody else after a reboot would be stopped in our name.
    """

    name: str
    pid: int
    started_ticks: int
    log: Path
    stop_signal: int = signal.SIGTERM

    def is_running(self) -> bool:
        """Say whether this very process still runs. A zombie has ended, whoever forgot to collect it."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, os.WNOHANG)
        seen = _state_and_ticks(self.pid)
        return seen is not None and seen[1] == self.started_ticks and seen[0] not in "ZX"

    def stop(self, *, grace_seconds: float = 20.0) -> bool:
        """Ask it to end, wait, and kill it and what it started only if it did not.

        Returns:
            False when it was gone already.
        """
        try:
            handle = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return False
        try:
            # The handle is opened first and checked after: from here on the id cannot come to mean another process.
            if not self.is_running():
                return False
            _signal(handle, self.stop_signal)
            if not _ended(handle, grace_seconds):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self.pid, signal.SIGKILL)
                _ended(handle, grace_seconds)
            self.is_running()  # collects it, if it was our child
        finally:
            os.close(handle)
        return True


def nobody(process: "Process") -> None:
    """Tell nobody that `process` exists: the caller gets it when it is ready."""


def spawn(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    stop_signal: int = signal.SIGTERM,
) -> Process:
    """Start `command` in a session of its own, so that neither Ctrl-C nor our end takes it along.

    Output is appended to `log`, which only its owner may read.

    Raises:
        ServerFailed: The program is not on this machine.
    """
    program = find_program(command[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    # posix_spawn and not Popen: nobody here holds an object whose collection would warn about a running child.
    pid = os.posix_spawn(
        program,
        list(command),
        dict(os.environ if environment is None else environment),
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP),
    )
    seen = _state_and_ticks(pid)
    if seen is None:  # pragma: no cover - an uncollected child keeps its entry in /proc
        raise ServerFailed(f"{name} ended at once\n{tail(log)}")
    return Process(name=name, pid=pid, started_ticks=seen[1], log=log, stop_signal=stop_signal)


def identify(name: str, pid: int, log: Path = Path(os.devnull)) -> Process:
    """Return the process that has this id now.

    Raises:
        ProcessLookupError: There is none.
    """
    seen = _state_and_ticks(pid)
    if seen is None:
        raise ProcessLookupError(pid)
    return Process(name=name, pid=pid, started_ticks=seen[1], log=log)


def run(
    name: str,
    command: Sequence[str],
    *,
    log: Path,
    environment: Mapping[str, str] | None = None,
    stdin: str = "",
    deadline_seconds: float = 120.0,
) -> None:
    """Run `command` to its end with its output appended to `log`.

    Raises:
        ServerFailed: It is missing, took longer than the deadline, or ended with another code than 0.
    """
    program = find_program(command[0])
    log.parent.mkdir(parents=True, exist_ok=True)
    with open_private(log, "a") as output:
        try:
            ended = subprocess.run(  # noqa: S603 - the commands are this package's own, never input
                [program, *command[1:]],
                input=stdin,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                text=True,
                timeout=deadline_seconds,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise ServerFailed(f"{name} did not end within {deadline_seconds:g} s\n{tail(log)}") from error
    if ended.returncode != 0:
        raise ServerFailed(f"{name} ended with code {ended.returncode}\n{tail(log)}")


def wait_until_ready(process: Process, ready: Callable[[], bool], *, deadline_seconds: float) -> None:
    """Return as soon as `ready()` holds.

    Raises:
        ServerFailed: The process ended first, or the deadline passed. The process is left as it is.
    """
    deadline = time.monotonic() + deadline_seconds
    while True:
        # Asked first: what answers on the port of a process that has ended is somebody else's server.
        if not process.is_running():
            raise ServerFailed(f"{process.name} ended before it was ready\n{tail(process.log)}")
        if ready():
            return
        if time.monotonic() > deadline:
            raise ServerFailed(f"{process.name} was not ready within {deadline_seconds:g} s\n{tail(process.log)}")
        time.sleep(POLL_SECONDS)


def find_program(name: str) -> str:
    """Return the absolute path of a program; `sbin` is searched too, where Debian keeps nginx.

    Raises:
        ServerFailed: It is not on this machine.
    """
    path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin")
    if path is None:
        raise ServerFailed(f"{name} is not on this machine: run infra/install-debian.sh as root")
    return path


def tail(log: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a log with its name, for people."""
    try:
        text = log.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return f"({log} was not written)"
    return "\n".join([f"--- the end of {log}", *text.splitlines()[-lines:]])


def open_private(path: Path, mode: str) -> IO[str]:
    """Open a text file that is its owner's alone from the moment it exists."""
    return open(path, mode, encoding="utf-8", opener=lambda name, flags: os.open(name, flags, 0o600))


def stat_fields(pid: int) -> list[str]:
    """Return the fields of ``/proc/<pid>/stat`` (proc(5)) from the third (its state) on. Raises OSError."""
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The second field is the program's name in brackets and may itself hold blanks and brackets.
    return stat.rpartition(")")[2].split()


def _state_and_ticks(pid: int) -> tuple[str, int] | None:
    try:
        fields = stat_fields(pid)
    except (FileNotFoundError, ProcessLookupError):
        return None
    return fields[0], int(fields[19])


def _signal(handle: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(handle, number)


def _ended(handle: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(seconds * 1000))
