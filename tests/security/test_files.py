"""The data folder holds digests, people's names and addresses, and where requests came from: for its owner alone."""

from pathlib import Path

import pytest

from tests.e2e.profiles import Embedded

pytestmark = pytest.mark.xdist_group("attacked")


def test_no_file_in_the_data_folder_can_be_read_by_others(attacked: Embedded) -> None:
    found = [attacked.data_dir, *attacked.data_dir.rglob("*")]
    open_to_others = sorted(str(path) for path in found if _mode(path) & 0o077)
    assert len(found) > 10
    assert open_to_others == []


def _mode(path: Path) -> int:
    try:
        return path.stat().st_mode
    except FileNotFoundError:  # it was deleted meanwhile, as a temporary file is
        return 0
