"""Fixtures and hooks: the environment's URL, else Docker, else natively, else skip with the reason."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.providers.databases import fresh_database
from tests.providers.run import NoServerError, ServerName, TestRun, reachable_folder
from tests.providers.shared import given_address

_RUN = pytest.StashKey[TestRun]()
_WORKER_INPUT = "keyledger_test_run"


@pytest.fixture(scope="session")
def postgres_url(request: pytest.FixtureRequest) -> str:
    """A server with a user who may make databases. Shared by the whole run: use `postgres_database` to write."""
    return given_address("postgres") or _address(request.config, "postgres")


@pytest.fixture(scope="session")
def kafka_bootstrap(request: pytest.FixtureRequest) -> str:
    """A broker (`host:port`). Shared by the whole run: give topics and groups names of their own."""
    return given_address("kafka") or _address(request.config, "kafka")


@pytest.fixture
async def postgres_database(postgres_url: str) -> AsyncIterator[str]:
    """The URL of an empty database for this test alone, dropped afterwards whoever is still connected."""
    async with fresh_database(postgres_url) as url:
        yield url


@pytest.fixture
def server_folder() -> Iterator[Path]:
    """A folder for a server that a test starts itself; `tmp_path` is closed to every user but ours."""
    folder = reachable_folder()
    yield folder
    shutil.rmtree(folder)


def pytest_configure() -> None:
    """Have brokers start with half of the work: none lives long enough to gain from what its compiler optimises."""
    os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell each xdist worker, before it starts, the folder of the run."""
    node.workerinput[_WORKER_INPUT] = str(_run(node.config).folder)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the servers with the run: in the controller only, which outlives every worker."""
    run = config.stash.get(_RUN, None)
    if run is not None and not hasattr(config, "workerinput"):
        del config.stash[_RUN]
        run.end()


def _run(config: pytest.Config) -> TestRun:
    if _RUN not in config.stash:
        given = getattr(config, "workerinput", {}).get(_WORKER_INPUT)
        config.stash[_RUN] = TestRun(Path(given)) if given else TestRun.begin()
    return config.stash[_RUN]


def _address(config: pytest.Config, name: ServerName) -> str:
    try:
        return _run(config).address(name)
    except NoServerError as error:
        raise _outcome(f"no {name}: {error}") from None


def _outcome(reason: str) -> BaseException:
    # In CI a skipped guarantee is a lost one.
    return pytest.fail.Exception(reason, pytrace=False) if os.environ.get("CI") else pytest.skip.Exception(reason)
