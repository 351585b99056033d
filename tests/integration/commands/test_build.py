"""The service as its process runs it: what happens to the log must not matter to those who manage keys."""

import asyncio
from pathlib import Path
from typing import NoReturn

import httpx2
from prometheus_client import CollectorRegistry, generate_latest

from keyledger.eventlog.port import LogUnavailable
from keyledger.eventstore.port import Ledger
from keyledger.runtime.clock import SystemRandomness
from keyledger.runtime.process import Process
from keyledger.runtime.settings import Settings
from keyledger.testing.memory_log import MemoryLog
from keyledger.verification.auth_events import AuthEventSink
from keyledger_commands.bootstrap import bootstrap
from keyledger_commands.build import build
from tests.integration.commands.world import PEPPERS, SetClock

LEDGERS = ["memory", "sqlite"]


class GoneLog(MemoryLog):
    """A broker that nobody can reach."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()

    async def producer(self) -> NoReturn:
        self.asked.set()
        await asyncio.sleep(0)
        raise LogUnavailable("gone")


class BrokenLog(GoneLog):
    """A broker whose client breaks in a way that nobody thought of."""

    async def producer(self) -> NoReturn:
        self.asked.set()
        await asyncio.sleep(0)
        raise RuntimeError("unheard of")


async def revoke_with(log: GoneLog, ledger: Ledger, clock: SetClock, tmp_path: Path) -> None:
    file = await bootstrap(ledger, PEPPERS, SystemRandomness(), clock, tmp_path)
    assert file is not None
    registry = CollectorRegistry()
    service = build(
        Process(Settings(data_dir=tmp_path), clock=clock, registry=registry),
        ledger,
        AuthEventSink(log, node="test", boot="b", clock=clock),
        peppers=PEPPERS,
        owns_sink=True,
    )
    background = asyncio.create_task(service.run())
    await asyncio.wait_for(log.asked.wait(), 120)
    headers = {"Authorization": f"Bearer {file.read_text(encoding='ascii').strip()}"}
    transport = httpx2.ASGITransport(app=service.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://keyledger.test", headers=headers) as client:
        made = (await client.post("/v1/api-keys", json={"name": "x"})).json()
        assert (await client.delete(f"/v1/api-keys/{made['id']}")).status_code == 204
    assert not background.done()
    assert service.unready() is None
    assert b'keyledger_management_attempts_total{code="valid"} 2.0' in generate_latest(registry)
    background.cancel()
    await asyncio.wait([background])
    await service.close()


async def test_an_operator_gets_in_and_revokes_while_the_broker_is_gone(
    ledger: Ledger, clock: SetClock, tmp_path: Path
) -> None:
    await revoke_with(GoneLog(), ledger, clock, tmp_path)


async def test_an_operator_gets_in_and_revokes_while_the_sending_is_broken(
    ledger: Ledger, clock: SetClock, tmp_path: Path
) -> None:
    await revoke_with(BrokenLog(), ledger, clock, tmp_path)
