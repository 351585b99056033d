import uuid
from pathlib import Path

import pytest

from tests.integration.relay.profiles import Profile


@pytest.fixture
async def embedded(tmp_path: Path) -> Profile:
    return await _embedded(tmp_path).migrated()


@pytest.fixture(
    params=["embedded", pytest.param("distributed", marks=[pytest.mark.kafka, pytest.mark.postgres])],
)
def unmigrated(request: pytest.FixtureRequest, tmp_path: Path) -> Profile:
    if request.param == "embedded":
        return _embedded(tmp_path)
    database = request.getfixturevalue("postgres_database")
    bootstrap = request.getfixturevalue("kafka_bootstrap")
    return Profile(database, f"kafka://{bootstrap}", prefix=f"relay-{uuid.uuid4().hex[:8]}.")


@pytest.fixture
async def profile(unmigrated: Profile) -> Profile:
    return await unmigrated.migrated()


def _embedded(folder: Path) -> Profile:
    return Profile(f"sqlite:///{folder}/ledger.db", f"sqlite:///{folder}/log.db", prefix="")
