from pathlib import Path

import pytest

from keyledger.eventstore.migrating import migrate


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.db"
    url = request.getfixturevalue("postgres_database")
    assert isinstance(url, str)
    return url


@pytest.fixture
async def database(database_url: str) -> str:
    """The URL of an empty ledger that several processes may open."""
    await migrate(database_url)
    return database_url
