"""``python -m keyledger_verification`` on the embedded log, as its callers and its operator see it."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import msgspec

from infra.local.ports import free_port
from keyledger.contracts.auth_event import decode_attempts
from keyledger.contracts.freshness import Head, decode_report
from keyledger.contracts.topics import AUTH, HEADS, LEDGER, TOPICS, VERIFIERS
from keyledger.domain.events import KeyRevoked
from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import EventLog, NewRecord
from keyledger.runtime.clock import SystemClock
from keyledger.runtime.masters import write_once
from tests.unit.verification.world import STORE, Facts

MASTER = b"first master of the tests, 32 b."
DEADLINE_SECONDS = 120


class Relay:
    """Relays facts and heads into a log file, as the relay process does."""

    def __init__(self, log: EventLog) -> None:
        self.log, self.facts, self._relayed = log, Facts(), 0

    async def relay(self) -> None:
        producer = await self.log.producer()
        await producer.send(LEDGER.name, 0, self.facts.records(self._relayed))
        self._relayed = len(self.facts.entries)
        await self.beat()

    async def beat(self) -> None:
        producer = await self.log.producer()
        head = Head(store=STORE, position=self._relayed, at=SystemClock().now())
        await producer.send(HEADS.name, 0, [NewRecord(None, msgspec.json.encode(head))])

    async def beat_for_ever(self) -> None:
        while True:
            await self.beat()
            await asyncio.sleep(0.05)  # the relay's beat, faster


@asynccontextmanager
async def relaying(folder: Path) -> AsyncIterator[Relay]:
    log = await open_log(f"sqlite:///{folder / 'log.db'}")
    await log.ensure_topics(TOPICS)
    relay = Relay(log)
    beating = asyncio.create_task(relay.beat_for_ever())
    try:
        yield relay
    finally:
        beating.cancel()
        await asyncio.wait([beating])
        await log.close()


class Running:
    """The process, and a client for it."""

    def __init__(self, process: asyncio.subprocess.Process, client: httpx2.AsyncClient) -> None:
        self.process, self.client = process, client

    async def verify(self, token: str, **headers: str) -> httpx2.Response:
        return await self.client.get("/v1/auth/verify", headers={"Authorization": f"Bearer {token}", **headers})

    async def until_ready(self) -> None:
        async with asyncio.timeout(DEADLINE_SECONDS):
            while not await self._is_ready():
                assert self.process.returncode is None, "the process ended before it was ready"
                await asyncio.sleep(0.02)

    async def _is_ready(self) -> bool:
        try:
            return (await self.client.get("/readyz")).status_code == 200
        except httpx2.TransportError:
            return False

    async def stop(self, by: signal.Signals) -> int:
        self.process.send_signal(by)
        return await asyncio.wait_for(self.process.wait(), DEADLINE_SECONDS)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[Running]:
    port = free_port()
    write_once(folder / "pepper", MASTER.hex())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYLEDGER_")}
    ours = {"KEYLEDGER_DATA_DIR": str(folder), "KEYLEDGER_PORT": str(port), "KEYLEDGER_NODE": "node-1"}
    ours["KEYLEDGER_MAX_STALENESS_SECONDS"] = "600"  # a machine that stands still is not what these tests are about
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "keyledger_verification", env={**kept, **ours})
    try:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=DEADLINE_SECONDS) as client:
            yield Running(process, client)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def test_a_key_is_verified_over_http_and_its_revocation_seen(tmp_path: Path) -> None:
    async with relaying(tmp_path) as relay, running(tmp_path) as service:
        org = relay.facts.organization()
        key_id, token = relay.facts.key(org, relay.facts.user(org))
        await relay.relay()
        await service.until_ready()
        good = await service.verify(token)
        assert (good.status_code, good.json()["key_id"]) == (200, key_id)
        relay.facts.append(key_id, KeyRevoked(organization_id=org, key_id=key_id))
        await relay.relay()
        async with asyncio.timeout(DEADLINE_SECONDS):
            while (await service.verify(token)).status_code == 200:  # noqa: ASYNC110 - seen from outside only
                await asyncio.sleep(0.01)
        assert (await service.verify(token)).json()["code"] == "revoked"
        head = await service.client.head("/v1/auth/verify")
        assert (head.status_code, head.content) == (401, b"")
        metrics = (await service.client.get("/metrics")).text
        assert 'keyledger_verifier_verdicts_total{code="revoked"}' in metrics
        assert await service.stop(signal.SIGTERM) == 0


async def test_its_own_position_is_one_to_wait_for_and_another_ledgers_is_refused(tmp_path: Path) -> None:
    async with relaying(tmp_path) as relay, running(tmp_path) as service:
        org = relay.facts.organization()
        _, token = relay.facts.key(org, relay.facts.user(org))
        await relay.relay()
        await service.until_ready()
        position = (await service.verify(token)).json()["position"]
        assert (await service.verify(token, **{"Keyledger-At-Least": position})).status_code == 200
        forged = await service.verify(token, **{"Keyledger-At-Least": position[:-2] + "AA"})
        assert (forged.status_code, forged.json()["code"]) == (400, "invalid-position-token")


async def test_killed_it_goes_on_where_it_was_and_registers_anew(tmp_path: Path) -> None:
    async with relaying(tmp_path) as relay:
        org = relay.facts.organization()
        _, token = relay.facts.key(org, relay.facts.user(org))
        await relay.relay()
        for stop in (signal.SIGKILL, signal.SIGTERM):
            async with running(tmp_path) as service:
                await service.until_ready()
                assert (await service.verify(token)).status_code == 200
                await service.stop(stop)
        reader = await relay.log.reader(VERIFIERS.name, 0, 0)
        reports = [decode_report(one.value or b"") for one in await reader.poll(max_records=1000, timeout_seconds=1)]
        assert len({report.boot for report in reports}) == 2
        first_of_second = next(report for report in reports if report.boot != reports[0].boot)
        assert first_of_second.position == len(relay.facts.entries)


async def test_a_stop_loses_no_attempt(tmp_path: Path) -> None:
    async with relaying(tmp_path) as relay, running(tmp_path) as service:
        org = relay.facts.organization()
        _, token = relay.facts.key(org, relay.facts.user(org))
        await relay.relay()
        await service.until_ready()
        for _ in range(20):
            await service.verify(token)
        assert await service.stop(signal.SIGTERM) == 0
        attempts = 0
        for partition in range(AUTH.partitions):
            reader = await relay.log.reader(AUTH.name, partition, 0)
            records = await reader.poll(max_records=1000, timeout_seconds=0.1)
            attempts += sum(len(decode_attempts(record.value or b"")) for record in records)
        assert attempts == 20
