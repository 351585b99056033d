"""What a user imports is small: ``pip install keyledger`` brings three packages, and verifying needs no server."""

import subprocess
import sys
import tomllib
from pathlib import Path

PYPROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
BASE = {"httpx2", "lmdb", "msgspec"}
IMPORT_ALL = """
import pkgutil
import keyledger.verification
for module in pkgutil.iter_modules(keyledger.verification.__path__, "keyledger.verification."):
    __import__(module.name)
"""
PRINT_LOADED = """
import sys
print(*{name.partition(".")[0] for name in sys.modules})
"""


def test_the_base_install_has_three_dependencies() -> None:
    named = {dependency.partition(">")[0] for dependency in PYPROJECT["project"]["dependencies"]}
    assert named == BASE


def _loaded(program: str) -> set[str]:
    done = subprocess.run([sys.executable, "-c", program + PRINT_LOADED], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_verifying_imports_nothing_but_the_base_install() -> None:
    theirs = _loaded("import lmdb, msgspec")
    foreign = _loaded(IMPORT_ALL) - _loaded("") - theirs - sys.stdlib_module_names
    assert foreign == {"keyledger"}
