"""AsyncAPI's own parser, from npm: fetched once for each state of `infra/asyncapi/package-lock.json`."""

import fcntl
import hashlib
import shutil
import subprocess
from pathlib import Path
from typing import Final

from infra.local.processes import run
from infra.local.templates import INFRA, PROJECT

SOURCE: Final = INFRA / "asyncapi"
FILES: Final = ("package.json", "package-lock.json", "check.mjs")
CACHE: Final = PROJECT / ".build" / "asyncapi"
DEADLINE_SECONDS: Final = 300.0


def complaints(document: Path) -> list[str]:
    """Return what the parser finds wrong with an AsyncAPI document, also what it only warns of.

    Raises:
        ServerFailed: npm is missing or could not fetch the parser.
        CalledProcessError: the parser itself failed.
    """
    command = ["node", str(_parser() / "check.mjs"), str(document)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)  # noqa: S603 - ours
    if done.returncode not in (0, 1) or done.stderr:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout.splitlines()


def _parser() -> Path:
    digest = hashlib.sha256(b"".join((SOURCE / name).read_bytes() for name in FILES)).hexdigest()[:16]
    folder = CACHE / digest
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():  # another test worker may have fetched it while we waited
            _fetch(folder)
    return folder


def _fetch(folder: Path) -> None:
    partial = folder.with_suffix(".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for name in FILES:
        shutil.copy2(SOURCE / name, partial)
    # Nothing that is fetched runs code of its own while it is installed.
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(partial)]
    run("fetching AsyncAPI's parser", ["npm", "ci", *quiet], log=CACHE / "npm.log", deadline_seconds=DEADLINE_SECONDS)
    # Renamed when complete: a folder with this name always holds all of it.
    partial.rename(folder)
