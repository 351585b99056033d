"""The image's recipe, as far as it can be judged without Docker."""

import re
import subprocess
import sys
from pathlib import Path

from infra.containers.dockerfile import DOCKERFILE, read_stages, sent_to_the_builder
from infra.local.templates import PROJECT
from keyledger.runtime.settings import Settings, read_settings

HADOLINT = Path(sys.executable).parent / "hadolint"
BUILD, IMAGE = read_stages()


def _lint(path: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(HADOLINT), str(path)], capture_output=True, text=True, check=False)


def test_the_linter_has_nothing_to_say_of_it() -> None:
    found = _lint(DOCKERFILE)
    assert (found.returncode, found.stdout) == (0, "")


def test_the_linter_would_find_a_bad_line(tmp_path: Path) -> None:
    bad = tmp_path / "Dockerfile"
    bad.write_text(DOCKERFILE.read_text(encoding="utf-8").replace("WORKDIR /build", "WORKDIR build"), encoding="utf-8")
    assert _lint(bad).returncode == 1


def test_the_builder_gets_what_it_copies_and_nothing_else() -> None:
    copied = {source for step in BUILD.steps if step.name == "COPY" for source in step.words[:-1]}
    assert copied == sent_to_the_builder()
    assert all((PROJECT / source).exists() for source in copied)


def test_the_image_has_no_source_and_runs_as_nobody_in_particular() -> None:
    assert [step.words for step in IMAGE.steps if step.name == "COPY"] == [
        ["--from=build", "/opt/keyledger", "/opt/keyledger"]
    ]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", IMAGE.last("USER").text)
    assert IMAGE.base == BUILD.base, "the environment is moved, so that both have the same Python"


def test_the_image_sets_what_a_service_knows() -> None:
    ours = {name: value for name, value in IMAGE.environment.items() if name.startswith("KEYLEDGER_")}
    settings = read_settings(ours)
    assert str(settings.data_dir) == IMAGE.last("WORKDIR").text
    assert IMAGE.last("VOLUME").words == [IMAGE.last("WORKDIR").text]
    assert IMAGE.last("EXPOSE").words == [str(Settings().port)]


def test_its_health_is_the_readiness_of_the_service() -> None:
    check = IMAGE.last("HEALTHCHECK").text
    assert "/readyz" in check
    assert f"'{Settings().port}'" in check


def test_the_base_has_a_tag_and_a_place_for_a_digest() -> None:
    assert BUILD.base == "${PYTHON_IMAGE}"
    assert re.search(r"^ARG PYTHON_IMAGE=python:3\.\d+-slim-\w+$", DOCKERFILE.read_text(encoding="utf-8"), re.MULTILINE)
