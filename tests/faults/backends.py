"""One campaign on either database that the ledger can be in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

from tests.faults.campaign import Campaign, Outcome, Stage
from tests.faults.processes import World, world_in
from tests.providers.databases import fresh_database

Backend = Literal["sqlite", "postgres"]
BACKENDS: Final[tuple[Backend, ...]] = ("sqlite", "postgres")


@asynccontextmanager
async def database_on(stage: Stage, backend: Backend) -> AsyncIterator[str | None]:
    """Give the URL of an empty database on Postgres; on SQLite None, the file in the data folder."""
    if backend == "sqlite":
        yield None
        return
    async with fresh_database(stage.servers.postgres_url()) as url:
        yield url


@asynccontextmanager
async def world_on(stage: Stage, backend: Backend) -> AsyncIterator[World]:
    """Prepare a world in the stage's folder whose ledger is in this database."""
    async with database_on(stage, backend) as url, world_in(stage.folder, database_url=url) as world:
        yield world


def on_both(name: str, run: Callable[[Stage, Backend], Awaitable[Outcome]], **more: Any) -> tuple[Campaign, ...]:
    """Return a campaign for each database. ``more``: the other fields of ``Campaign``."""
    return tuple(
        Campaign(
            name=f"{name}-{backend}",
            run=partial(_run_on, run, backend),
            needs=frozenset({"postgres"} if backend == "postgres" else ()),
            **more,
        )
        for backend in BACKENDS
    )


async def _run_on(run: Callable[[Stage, Backend], Awaitable[Outcome]], backend: Backend, stage: Stage) -> Outcome:
    return await run(stage, backend)
