"""A Keyledger in a process of its own, which the tests of this folder attack as a stranger would: over its socket."""

from collections.abc import Iterator

import pytest

from tests.e2e.profiles import Embedded, running


@pytest.fixture(scope="session")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with running(Embedded, tmp_path_factory.mktemp("attacked")) as started:
        yield started
