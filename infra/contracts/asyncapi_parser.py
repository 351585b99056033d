"""AsyncAPI's own parser, from npm: fetched once for each state of `infra/asyncapi/package-lock.json`."""

import shutil
import subprocess
from pathlib import Path
from typing import Final

from infra.local.fetched import fetched
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
    parser = fetched(CACHE, [SOURCE / name for name in FILES], _fetch)
    command = ["node", str(parser / "check.mjs"), str(document)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)  # noqa: S603 - ours
    if done.returncode not in (0, 1) or done.stderr:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout.splitlines()


def _fetch(folder: Path) -> None:
    for name in FILES:
        shutil.copy2(SOURCE / name, folder)
    # Nothing that is fetched runs code of its own while it is installed.
    quiet = ["--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(folder)]
    run("fetching AsyncAPI's parser", ["npm", "ci", *quiet], log=CACHE / "npm.log", deadline_seconds=DEADLINE_SECONDS)
