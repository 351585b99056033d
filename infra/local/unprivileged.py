"""How a server that must not be root is run by root: another user, and a folder that user can reach."""

import os
import pwd
import subprocess
import tempfile
from pathlib import Path

from infra.local.processes import ServerFailed, find_program

CANDIDATES = ("postgres", "nobody")
# Where folders go whose natural place the unprivileged user cannot reach, such as a checkout below /root.
REACHABLE = Path("/var/lib/keyledger")


def as_unprivileged(command: list[str]) -> list[str]:
    """Return `command` as the unprivileged user runs it: unchanged when we are not root ourselves."""
    if os.geteuid() != 0:
        return command
    account = _account()
    # find_program here, because setpriv itself searches no sbin folder.
    switch = [f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--no-new-privs"]
    return ["setpriv", *switch, find_program(command[0]), *command[1:]]


def unprivileged_folder(path: Path) -> Path:
    """Return a folder for the unprivileged user alone, at `path` or, if that cannot be reached, linked from there.

    A folder that exists is returned as it is, so that a server finds its data again.

    Raises:
        ServerFailed: The folder exists but the user can no longer reach it.
    """
    if os.geteuid() != 0:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path.resolve()
    account = _account()
    if path.exists():
        folder = path.resolve()
        if not _can_enter(folder):
            raise ServerFailed(f"the user {account.pw_name} cannot enter {folder}: check the modes of its parents")
        return folder
    path.unlink(missing_ok=True)  # a link whose target is gone
    path.parent.mkdir(parents=True, exist_ok=True)
    if _can_enter(path.parent):
        path.mkdir(mode=0o700)
    else:
        REACHABLE.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.symlink_to(tempfile.mkdtemp(prefix=f"{path.name}-", dir=REACHABLE))
    os.chown(path, account.pw_uid, account.pw_gid)
    return path.resolve()


def give_to_unprivileged(path: Path) -> None:
    """Make `path` the unprivileged user's own (nothing to do unless we are root)."""
    if os.geteuid() == 0:
        account = _account()
        os.chown(path, account.pw_uid, account.pw_gid)


def _account() -> pwd.struct_passwd:
    for name in CANDIDATES:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerFailed(f"none of the users {', '.join(CANDIDATES)} exists on this machine")


def _can_enter(folder: Path) -> bool:
    # Asked of the kernel as that user: modes of all parents, ACLs and mounts have their say.
    command = as_unprivileged(["test", "-x", str(folder)])
    return subprocess.run([find_program(command[0]), *command[1:]], check=False).returncode == 0  # noqa: S603 - our own
