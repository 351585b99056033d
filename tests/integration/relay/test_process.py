"""``python -m keyledger_relay``: ready when it has caught up, and loud when it must stop."""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

from infra.local.ports import free_port
from tests.integration.relay.profiles import Profile
from tests.unit.relay.kit import DEADLINE_SECONDS, append_keys, assert_each_once, until_it_answers


@contextlib.asynccontextmanager
async def relay_at(folder: Path) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    port = free_port()
    settings = {
        "KEYLEDGER_DATA_DIR": str(folder),
        "KEYLEDGER_PORT": str(port),
        "KEYLEDGER_LOG_FORMAT": "json",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "keyledger_relay",
        env={**os.environ, **settings},
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield process, f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_it_is_ready_when_it_has_caught_up_and_ends_well_when_asked_to(embedded: Profile, tmp_path: Path) -> None:
    async with embedded.opened() as (ledger, log):
        await append_keys(ledger, 50)
        async with relay_at(tmp_path) as (process, url), httpx2.AsyncClient() as client:

            async def answer() -> int:
                assert process.returncode is None, "the relay ended by itself"
                try:
                    return (await client.get(f"{url}/readyz")).status_code
                except httpx2.TransportError:
                    return 0

            await until_it_answers(answer, 200)
            await assert_each_once(log, 50)
            metrics = (await client.get(f"{url}/metrics")).text
            assert "keyledger_relay_position 50.0" in metrics
            process.send_signal(signal.SIGTERM)
            assert await asyncio.wait_for(process.wait(), DEADLINE_SECONDS) == 0


async def test_it_fails_with_the_reason_when_the_topics_are_another_ledgers(embedded: Profile, tmp_path: Path) -> None:
    other = Profile(f"sqlite:///{tmp_path}/other.db", embedded.log_url, embedded.prefix)
    async with (await other.migrated()).opened() as (ledger, _):
        await append_keys(ledger, 3)
        with other.relay_process(batch_events=10):
            await until_it_answers(lambda: ledger.checkpoint("relay"), 3)
        foreign = ledger.store_id
    async with relay_at(tmp_path) as (process, _):
        _, said = await asyncio.wait_for(process.communicate(), DEADLINE_SECONDS)
        assert process.returncode == 1
        assert f"ends with a record of /keyledger/ledgers/{foreign}" in said.decode()
