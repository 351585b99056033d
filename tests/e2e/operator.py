"""The ``keyledger`` command beside a running Keyledger, with the settings that its processes have."""

import subprocess
from pathlib import Path

from tests.e2e.profiles import PROGRAM

DEADLINE_SECONDS = 180


def environment_of(pid: int) -> dict[str, str]:
    """Return the environment that a process was started with."""
    lines = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return dict(line.decode().partition("=")[::2] for line in lines if line)


def command(environment: dict[str, str], *arguments: str, code: int = 0) -> str:
    """Return what the command says; its exit code must be ``code``."""
    done = subprocess.run(
        [PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout
