"""``schemas/asyncapi.yaml`` before AsyncAPI's own parser."""

import os
import shutil
from pathlib import Path

import pytest

from infra.contracts.asyncapi_parser import complaints
from infra.contracts.released import SCHEMAS

pytestmark = pytest.mark.xdist_group("npm")


@pytest.fixture(autouse=True)
def _npm() -> None:
    if shutil.which("npm") is None:
        assert not os.environ.get("CI"), "CI has Node.js and npm"
        pytest.skip("npm is not on this machine: AsyncAPI's own parser is not asked")


def test_the_asyncapi_document_is_one_that_its_own_parser_accepts_without_a_word() -> None:
    assert complaints(SCHEMAS / "asyncapi.yaml") == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("partitions: 1", "partitions: none"),
        ("protocol: kafka\n", "protokoll: kafka\n"),
        ("#/components/messages/KeyCreated.v1", "#/components/messages/Nothing"),
    ],
)
def test_the_parser_finds_what_is_wrong(tmp_path: Path, right: str, wrong: str) -> None:
    text = (SCHEMAS / "asyncapi.yaml").read_text(encoding="utf-8")
    assert right in text
    broken = tmp_path / "asyncapi.yaml"
    broken.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    assert complaints(broken) != []
