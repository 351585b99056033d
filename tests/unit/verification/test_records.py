import subprocess
import sys

import pytest

ENCODED = """
from keyledger.verification.records import RoleRecord, Stored, encode_stored
role = RoleRecord("org_1", "developer", "Developer", frozenset(f"thing-{n}:read" for n in range(20)), frozenset())
print(encode_stored(Stored(1, role)).hex())
"""


@pytest.fixture(scope="module")
def lines() -> list[str]:
    """One record, encoded by processes that each order their sets in their own way."""
    return [
        subprocess.run(
            [sys.executable, "-c", ENCODED], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    ]


def test_the_same_facts_make_the_same_bytes_in_every_process(lines: list[str]) -> None:
    assert lines[0]
    assert set(lines) == {lines[0]}
