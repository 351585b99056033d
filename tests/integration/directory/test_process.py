"""``python -m keyledger_directory``, as an operator runs it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import httpx2
import msgspec
import pytest

from infra.local.ports import free_port
from keyledger.contracts.cloudevents import attributes, ledger_source
from keyledger.contracts.freshness import Head
from keyledger.contracts.topics import HEADS, LEDGER, TOPICS
from keyledger.domain.events import KeyRevoked
from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import EventLog, NewRecord
from keyledger.runtime.clock import SystemClock
from tests.unit.verification.world import STORE, Facts

DEADLINE_SECONDS = 120.0
# The masters of ``tests.unit.verification.world.PEPPERS``: the newest first.
MASTERS = ",".join(text.hex() for text in (b"first master of the tests, 32 b.", b"second master of the tests 32 b."))


class Relay:
    """Stands for the relay: sends facts, and says ten times a second how far the ledger is."""

    def __init__(self, log: EventLog) -> None:
        self._log, self.facts, self._sent = log, Facts(), 0

    async def run(self) -> None:
        producer, clock = await self._log.producer(), SystemClock()
        try:
            while True:
                records = self.facts.records(after=self._sent)
                if records:
                    await producer.send(LEDGER.name, 0, records)
                    self._sent += len(records)
                head = Head(store=STORE, position=self._sent, at=clock.now())
                named = attributes(type="LedgerHead", id=str(head.at), source=ledger_source(STORE), time=head.at)
                await producer.send(HEADS.name, 0, [NewRecord(None, msgspec.json.encode(head), named)])
                await clock.sleep(0.1)
        finally:
            await producer.close()


@pytest.fixture
async def relay(tmp_path: Path) -> AsyncIterator[Relay]:
    log = await open_log(f"sqlite:///{tmp_path / 'log.db'}")
    await log.ensure_topics(TOPICS)
    relay = Relay(log)
    running = asyncio.create_task(relay.run())
    yield relay
    running.cancel()
    await asyncio.wait({running})
    await log.close()


async def answer(
    http: httpx2.AsyncClient, process: asyncio.subprocess.Process, path: str, expected: int, token: str = ""
) -> httpx2.Response:
    """Ask until the answer is the expected one; fail at once when the process has ended, else with what came last."""
    seen: object = None
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while True:
                assert process.returncode is None, "the process ended by itself"
                try:
                    found = await http.get(path, headers=headers)
                except httpx2.TransportError as error:
                    seen = error
                else:
                    if found.status_code == expected:
                        return found
                    seen = found.text
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{path}: {seen}") from None


async def test_it_serves_what_the_log_holds_and_stops_cleanly(relay: Relay, tmp_path: Path) -> None:
    facts, port = relay.facts, free_port()
    organization = facts.organization()
    user = facts.user(organization, roles=("administrator",))
    root_id, root = facts.key(organization, user, name="root")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "keyledger_directory",
        env={
            **os.environ,
            "KEYLEDGER_DATA_DIR": str(tmp_path),
            "KEYLEDGER_PORT": str(port),
            "KEYLEDGER_PEPPER": MASTERS,
            "KEYLEDGER_NODE": "directory-1",
        },
    )
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            ask = partial(answer, http, process)
            await ask("/readyz", 200)
            listed = await ask("/v1/api-keys", 200, root)
            assert [key["name"] for key in listed.json()["data"]] == ["root"]
            await ask("/v1/api-keys", 401, root[:-1] + ("0" if root[-1] != "0" else "1"))
            other_id, other = facts.key(organization, user, number=2, name="other")
            await ask(f"/v1/api-keys/{other_id}", 200, root)
            facts.append(other_id, KeyRevoked(organization_id=organization, key_id=other_id))
            await ask(f"/v1/api-keys/{other_id}", 404, root)
            await ask(f"/v1/api-keys/{root_id}", 401, other)
            figures = (await ask("/metrics", 200)).text
            assert f"keyledger_directory_position {float(len(facts.entries))}" in figures
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), DEADLINE_SECONDS) == 0
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
