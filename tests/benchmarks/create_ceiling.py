"""``python -m tests.benchmarks.create_ceiling``: what FastAPI alone makes of the create route.

The same body model, answer model and server; nothing is asked, decided or written. KEYLEDGER_PORT says where.
"""

import asyncio
import sys
from datetime import UTC, datetime

from fastapi import FastAPI
from starlette.types import ASGIApp

from keyledger.runtime.process import Process, run
from keyledger.runtime.serving import serve
from keyledger.web.resources import EXAMPLE_KEY
from keyledger_commands.bodies import CreateKeyBody
from keyledger_commands.views import IssuedKey

_TOKEN = "kl_dev_01hXk3fJ7Qb4dU6wAs3MnP_" + "0" * 33


class Ceiling:
    """A service with one route."""

    def __init__(self) -> None:
        app = FastAPI(openapi_url=None)
        self.app: ASGIApp = app

        @app.post("/v1/api-keys", status_code=201, response_model_exclude_unset=True)
        async def create(body: CreateKeyBody) -> IssuedKey:
            now = datetime.now(UTC)
            return IssuedKey(**{**EXAMPLE_KEY, "name": body.name, "created_at": now, "updated_at": now, "key": _TOKEN})

    async def run(self) -> None:
        await asyncio.Event().wait()

    def unready(self) -> str | None:
        return None

    async def close(self) -> None: ...


async def main(process: Process) -> int:
    return await serve(Ceiling(), process.settings, registry=process.registry)


if __name__ == "__main__":
    sys.exit(run("create_ceiling", main))
