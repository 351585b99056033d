"""``python -m tests.benchmarks.lookup_server URL FOLDER KEYS``: what one would write by hand instead of Keyledger.

FastAPI, a pool of asyncpg, one table with an index on the SHA-256 of the key; nothing is recorded. On the first core,
under uvicorn and uvloop as they are installed. The tokens are those in the folder's ``tokens``; prints the port.
"""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import uvicorn
from fastapi import FastAPI, Header, HTTPException

CONNECTIONS = 16
TABLE = """
    CREATE TABLE api_keys (
        id text PRIMARY KEY, digest bytea NOT NULL, name text NOT NULL, organization_id text NOT NULL,
        owner_id text NOT NULL, role text NOT NULL, environment text NOT NULL, expires_at timestamptz,
        revoked_at timestamptz)
"""
LOOK_UP = """
    SELECT id, name, organization_id, owner_id, role, environment, expires_at, revoked_at
      FROM api_keys WHERE digest = $1
"""


def create_app(pool: Any) -> FastAPI:
    """Return the application."""
    app = FastAPI()

    @app.get("/v1/auth/verify")
    async def verify(authorization: Annotated[str, Header()]) -> dict[str, Any]:
        digest = sha256(authorization.removeprefix("Bearer ").encode()).digest()
        found = await pool.fetchrow(LOOK_UP, digest)
        if found is None or found["revoked_at"] is not None:
            raise HTTPException(401)
        if found["expires_at"] is not None and found["expires_at"] <= datetime.now(UTC):
            raise HTTPException(401)
        return {"valid": True, **found}

    return app


async def fill(url: str, tokens: list[str], count: int) -> None:
    """Make the table with these tokens, and as many unknown ones as are missing."""
    connection = await asyncpg.connect(url)
    await connection.execute(TABLE)
    await connection.copy_records_to_table("api_keys", records=_rows(tokens, count))
    await connection.execute("CREATE UNIQUE INDEX api_keys_digest ON api_keys (digest)")
    await connection.execute("VACUUM ANALYZE api_keys")
    await connection.close()


def _rows(tokens: list[str], count: int) -> Iterator[tuple[Any, ...]]:
    for number in range(count):
        digest = sha256(tokens[number].encode()).digest() if number < len(tokens) else secrets.token_bytes(32)
        owner = f"user_{number % 10_000:022}"
        yield f"key_{number:022}", digest, "a key of ours", f"org_{1:022}", owner, "developer", "dev", None, None


async def serve(url: str, folder: Path, count: int) -> None:
    """Fill the table, print the port and serve."""
    await fill(url, (folder / "tokens").read_text(encoding="ascii").split("\n"), count)
    os.sched_setaffinity(0, {0})
    pool = await asyncpg.create_pool(url, min_size=CONNECTIONS, max_size=CONNECTIONS)
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    options: dict[str, Any] = {"log_config": None, "access_log": False, "lifespan": "off", "server_header": False}
    await uvicorn.Server(uvicorn.Config(create_app(pool), **options)).serve(sockets=[listening])


if __name__ == "__main__":
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
