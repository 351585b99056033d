"""What the README and the first start tell a newcomer to type works as it stands there."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from keyledger.runtime.settings import PREFIX, SECRETS, Settings
from keyledger_standalone.serving import first_steps
from tests.e2e.profiles import Embedded

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def _typed(lines: str) -> list[str]:
    """Return what a shell prints for these lines, line by line of JSON."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=lines.replace("curl -s ", "curl -sf ").replace("\ncurl", "\necho\ncurl"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, "a line of these did not work"
    return [line for line in done.stdout.splitlines() if line]


def _check(printed: list[str]) -> None:
    verdict, keys = (json.loads(line) for line in printed)
    assert (verdict["valid"], verdict["name"]) == (True, "my first key")
    assert keys["data"][0]["name"] == "my first key", "the newest is listed first"


@pytest.mark.xdist_group("e2e")
def test_the_readmes_first_steps_work(embedded: Embedded) -> None:
    (block,) = re.findall(r"<!-- tested: sixty seconds -->\n```bash\n(.*?)```", README, re.DOTALL)
    lines = block.replace("http://127.0.0.1:8700", embedded.origin)
    _check(_typed(lines.replace(".keyledger/root.key", str(embedded.data_dir / "root.key"))))


@pytest.mark.xdist_group("e2e")
def test_the_lines_of_the_first_start_work_when_pasted(embedded: Embedded) -> None:
    steps = first_steps(embedded.origin, embedded.data_dir / "root.key")
    assert len(steps) == 4
    _check(_typed("\n".join(steps) + "\n"))


def test_the_readme_names_every_setting() -> None:
    for field in Settings.model_fields:
        name = field.upper()
        short = name.removeprefix("KAFKA")  # the table shortens the last ones of a family
        assert f"`{PREFIX}{name}`" in README or f"`{short}`" in README, name
    for secret in SECRETS:
        assert re.search(rf"`({PREFIX}{secret}|{secret.removeprefix('KAFKA')})` \*", README), secret


def test_every_make_target_of_the_readme_exists() -> None:
    assert shutil.which("make")
    makefile = (Path(__file__).parents[2] / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make ([a-z-]+)`", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_test_that_the_readme_names_exists() -> None:
    named = set(re.findall(r"`(test_[a-z0-9_]+)`", README))
    root = Path(__file__).parents[2]
    sources = [
        path.read_text(encoding="utf-8")
        for folder in ("tests", "libs/keyledger/testing")
        for path in (root / folder).rglob("*.py")
    ]
    assert named
    assert {name for name in named if not any(f"def {name}(" in source for source in sources)} == set()
