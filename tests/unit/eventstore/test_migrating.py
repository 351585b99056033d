from contextlib import closing
from pathlib import Path
from sqlite3 import connect

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from keyledger.eventstore import migrations
from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.testing.ledger_examples import SteppedClock


def test_the_revision_that_is_asked_for_is_the_newest_one() -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    assert ScriptDirectory.from_config(config).get_heads() == [migrations.REVISION]


async def test_migrating_again_changes_nothing(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.db"
    await migrate(url)
    with closing(connect(tmp_path / "ledger.db")) as connection:
        before = list(connection.iterdump())
    await migrate(url)
    with closing(connect(tmp_path / "ledger.db")) as connection:
        assert list(connection.iterdump()) == before


@pytest.mark.parametrize("url", ["mysql://root@localhost/x", "ledger.db", ""])
async def test_a_url_of_another_kind_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="starts with postgresql"):
        await migrate(url)
    with pytest.raises(ValueError, match="starts with postgresql"):
        await open_ledger(url, clock=SteppedClock())
