"""Databases of one's own on a server that others use too."""

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit


@asynccontextmanager
async def fresh_database(server_url: str) -> AsyncIterator[str]:
    """Give the URL of an empty database, and drop it afterwards whoever is still connected."""
    name = f"test_{uuid.uuid4().hex}"
    await _execute(server_url, f'CREATE DATABASE "{name}"')
    try:
        yield urlsplit(server_url)._replace(path=f"/{name}").geturl()
    finally:
        await _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


async def _execute(url: str, statement: str) -> None:
    import asyncpg  # noqa: PLC0415 - tests without a database need no driver

    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()
