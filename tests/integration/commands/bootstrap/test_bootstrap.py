"""The first start: killed anywhere, raced by anybody, it ends with one organization and a file that opens it."""

import asyncio
import stat
from pathlib import Path
from typing import cast
from uuid import RFC_4122, UUID

import pytest
from msgspec.structs import replace

from keyledger.contracts.registry import decode
from keyledger.domain.events import OrganizationCreated
from keyledger.domain.identifiers import Kind, decode_base62, is_resource_id, role_stream
from keyledger.domain.organizations import builtin_roles
from keyledger.eventstore.port import Append, Ledger
from keyledger.runtime.clock import SystemRandomness
from keyledger.runtime.settings import InvalidSettings
from keyledger.testing.memory_ledger import MemoryLedger, MemoryStore
from keyledger.verification.peppers import MASTER_BYTES, Peppers
from keyledger.verification.token import SECRET_BYTES, mint
from keyledger_commands.bootstrap import bootstrap, first_id, root_key_id
from tests.integration.commands.watched import Watched
from tests.integration.commands.world import PEPPERS, SetClock, World, served

LEDGERS = ["memory", "sqlite"]

STEPS = 7
"""Appends of a first start: an organization, four roles, a user, a key."""


class Killed(BaseException):
    """The process ended here."""


async def start(ledger: Ledger | Watched, clock: SetClock, folder: Path) -> Path | None:
    return await bootstrap(cast("Ledger", ledger), PEPPERS, SystemRandomness(), clock, folder)


def serving(ledger: Ledger, clock: SetClock, file: Path) -> World:
    """Return the service as the holder of the file has it."""
    one = served(ledger, clock)
    return World(one.ledger, one.client, clock, file.read_text(encoding="ascii").strip(), "", one.attempts)


async def opens(ledger: Ledger, clock: SetClock, file: Path) -> bool:
    """Say whether the token in the file does what an administrator may."""
    world = serving(ledger, clock, file)
    return (await world.send("POST", "/v1/users", json={"name": "x", "role": "administrator"})).status_code == 201


async def organizations(ledger: Ledger) -> int:
    facts = [decode(entry) for entry in await ledger.read(0, limit=1000)]
    return sum(fact is not None and isinstance(fact.event, OrganizationCreated) for fact in facts)


async def test_the_file_holds_a_key_that_may_do_everything(ledger: Ledger, clock: SetClock, tmp_path: Path) -> None:
    file = await start(ledger, clock, tmp_path / "new" / "folder")
    assert file == tmp_path / "new" / "folder" / "root.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert await opens(ledger, clock, file)
    user = (await ledger.profiles([first_id("user", ledger.store_id)])).popitem()[1]
    assert (user.name, user.email) == ("Administrator", None)


async def test_a_second_start_changes_nothing(ledger: Ledger, clock: SetClock, tmp_path: Path) -> None:
    file = await start(ledger, clock, tmp_path)
    assert file is not None
    text = file.read_text(encoding="ascii")
    assert await start(ledger, clock, tmp_path) is None
    assert (file.read_text(encoding="ascii"), (await ledger.head()).position) == (text, STEPS)


async def test_a_newer_versions_builtin_roles_are_defined_at_its_start_once(
    ledger: Ledger, clock: SetClock, tmp_path: Path
) -> None:
    file = await start(ledger, clock, tmp_path)
    assert file is not None
    world = serving(ledger, clock, file)
    organization_id = first_id("org", ledger.store_id)
    manager = builtin_roles(organization_id)[-1]
    older = replace(manager, grants=("viewer", "developer"))
    await world.write(role_stream(organization_id, manager.role), older, organization_id=organization_id)
    assert await start(ledger, clock, tmp_path) is None
    assert (await world.send("GET", f"/v1/roles/{manager.role}")).json()["grants"] == sorted(manager.grants)
    assert await start(ledger, clock, tmp_path) is None
    assert (await ledger.head()).position == STEPS + 2


async def test_a_file_that_was_put_away_is_not_made_again(ledger: Ledger, clock: SetClock, tmp_path: Path) -> None:
    file = await start(ledger, clock, tmp_path)
    assert file is not None
    file.unlink()
    assert await start(ledger, clock, tmp_path) is None
    assert not file.exists()


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", range(1, STEPS + 1))
async def test_a_start_that_was_killed_is_gone_on_with(
    ledger: Ledger, clock: SetClock, tmp_path: Path, step: int, moment: str
) -> None:
    watched, count = Watched(ledger), 0

    async def kill(_: Append) -> None:
        nonlocal count
        count += 1
        if count == step:
            raise Killed

    setattr(watched, f"{moment}_append", kill)
    with pytest.raises(Killed):
        await start(watched, clock, tmp_path)
    left = tmp_path / "root.key"
    token_then = left.read_text(encoding="ascii") if left.exists() else None
    await start(ledger, clock, tmp_path)
    assert token_then in (None, left.read_text(encoding="ascii"))
    assert await opens(ledger, clock, left)
    assert await organizations(ledger) == 1


async def test_a_file_is_never_there_without_what_it_opens_being_certain(
    ledger: Ledger, clock: SetClock, tmp_path: Path
) -> None:
    """The secret stands in the file before the key has it: no kill leaves a key that nobody can use."""
    watched, seen = Watched(ledger), []

    async def look(append: Append) -> None:
        seen.append((append.stream.startswith("key_"), (tmp_path / "root.key").exists()))

    watched.before_append = look
    await start(watched, clock, tmp_path)
    assert seen == [(False, False)] * (STEPS - 1) + [(True, True)]


async def race(first: Ledger, second: Ledger, clock: SetClock, folders: tuple[Path, Path]) -> None:
    made = await asyncio.gather(start(first, clock, folders[0]), start(second, clock, folders[1]))
    assert await organizations(first) == 1
    assert sum(file is not None for file in made) == 1
    files = {folder / "root.key" for folder in folders if (folder / "root.key").exists()}
    assert len(files) == 1
    assert await opens(first, clock, files.pop())


@pytest.mark.parametrize("shared", [True, False])
async def test_two_first_starts_at_once_make_one_organization_and_one_file(
    ledger: Ledger, clock: SetClock, tmp_path: Path, *, shared: bool
) -> None:
    folders = (tmp_path, tmp_path if shared else tmp_path / "other")
    await race(ledger, ledger, clock, folders)


@pytest.mark.postgres
@pytest.mark.parametrize("shared", [True, False])
async def test_two_first_starts_at_once_on_postgres(
    postgres_ledger: Ledger, postgres_twin: Ledger, clock: SetClock, tmp_path: Path, *, shared: bool
) -> None:
    folders = (tmp_path, tmp_path if shared else tmp_path / "other")
    await race(postgres_ledger, postgres_twin, clock, folders)


async def test_a_file_that_never_opened_this_ledger_is_left_alone(
    ledger: Ledger, clock: SetClock, tmp_path: Path
) -> None:
    """It may open another ledger: `make run` and `make cluster` share the folder."""
    await start(ledger, clock, tmp_path / "winner")
    other = tmp_path / "root.key"
    other.write_text(mint("dev", root_key_id(PEPPERS), bytes(SECRET_BYTES)), encoding="ascii")
    assert await start(ledger, clock, tmp_path) is None
    assert other.exists()


async def test_one_root_key_opens_two_ledgers_that_share_a_data_folder(clock: SetClock, tmp_path: Path) -> None:
    one, other = (MemoryLedger(MemoryStore(store), clock=clock) for store in ("a" * 32, "b" * 32))
    file = await start(one, clock, tmp_path)
    assert file is not None
    assert await start(other, clock, tmp_path) == file
    assert await opens(one, clock, file)
    assert await opens(other, clock, file)
    await one.close()
    await other.close()


async def test_a_start_without_the_ledgers_master_is_refused(ledger: Ledger, clock: SetClock, tmp_path: Path) -> None:
    await start(ledger, clock, tmp_path)
    other = Peppers([b"o" * MASTER_BYTES])
    with pytest.raises(InvalidSettings, match="KEYLEDGER_PEPPER"):
        await bootstrap(ledger, other, SystemRandomness(), clock, tmp_path)
    assert await start(ledger, clock, tmp_path) is None


async def test_an_old_master_may_go_once_a_new_one_was_first(ledger: Ledger, clock: SetClock, tmp_path: Path) -> None:
    await start(ledger, clock, tmp_path)
    new, old = b"n" * MASTER_BYTES, bytes(range(MASTER_BYTES))
    await bootstrap(ledger, Peppers([new, old]), SystemRandomness(), clock, tmp_path)
    await bootstrap(ledger, Peppers([new]), SystemRandomness(), clock, tmp_path)
    with pytest.raises(InvalidSettings, match="KEYLEDGER_PEPPER"):
        await bootstrap(ledger, Peppers([old]), SystemRandomness(), clock, tmp_path)


async def test_a_new_first_master_makes_no_second_root_key(ledger: Ledger, clock: SetClock, tmp_path: Path) -> None:
    await start(ledger, clock, tmp_path)
    before = await ledger.head()
    renewed = Peppers([b"n" * MASTER_BYTES, bytes(range(MASTER_BYTES))])
    assert await bootstrap(ledger, renewed, SystemRandomness(), clock, tmp_path / "elsewhere") is None
    assert await ledger.head() == before


async def test_a_file_whose_secret_was_rotated_away_is_left_to_the_operator(
    ledger: Ledger, clock: SetClock, tmp_path: Path
) -> None:
    file = await start(ledger, clock, tmp_path)
    assert file is not None
    world = serving(ledger, clock, file)
    await world.send("POST", f"/v1/api-keys/{root_key_id(PEPPERS)}/rotate")
    assert await start(ledger, clock, tmp_path) is None
    assert file.exists()


@pytest.mark.parametrize("text", ["nonsense", mint("dev", "key_" + "0" * 22, bytes(SECRET_BYTES)), "\u00fc"])
async def test_a_file_of_something_else_is_never_touched(
    ledger: Ledger, clock: SetClock, tmp_path: Path, text: str
) -> None:
    (tmp_path / "root.key").write_text(text, encoding="utf-8")
    with pytest.raises(InvalidSettings, match="is not this installation's root key"):
        await start(ledger, clock, tmp_path)
    assert (tmp_path / "root.key").read_text(encoding="utf-8") == text


def test_first_ids_are_uuids_of_version_7_that_sort_first() -> None:
    kinds: tuple[Kind, ...] = ("org", "user", "key")
    for kind in kinds:
        first = first_id(kind, "ab" * 16)
        assert first == first_id(kind, "ab" * 16) != first_id(kind, "cd" * 16)
        assert is_resource_id(first, kind)
        assert first < SystemRandomness().resource_id(kind)
        number = UUID(int=decode_base62(first.partition("_")[2]))
        assert (number.version, number.variant) == (7, RFC_4122)
