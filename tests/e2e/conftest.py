"""Each profile is started once for all end-to-end tests of a worker."""

from collections.abc import Iterator

import pytest

from tests.e2e.profiles import Distributed, Embedded, running


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with running(Embedded, tmp_path_factory.mktemp("embedded")) as started:
        yield started


@pytest.fixture(scope="session")
def distributed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distributed]:
    with running(Distributed, tmp_path_factory.mktemp("distributed")) as started:
        yield started
