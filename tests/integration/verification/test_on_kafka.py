"""A verifier node on a real broker."""

import asyncio
import uuid
from pathlib import Path

import msgspec
import pytest

from keyledger.contracts.freshness import Head
from keyledger.contracts.topics import AUTH, AUTH_BY_SOURCE, HEADS, LEDGER, TOPICS, VERIFIERS, Topic
from keyledger.detection.records import read_attempts
from keyledger.domain.events import KeyRevoked
from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import EventLog, NewRecord, Record
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.verification.index import open_index
from keyledger.verification.node import NodeSettings, VerifierNode
from keyledger.verification.verdict import Ask
from tests.integration.relay.apart import LogApart
from tests.unit.verification.nodes import until
from tests.unit.verification.world import PEPPERS, STORE, Facts

pytestmark = pytest.mark.kafka


async def everything(log: EventLog, topic: Topic) -> list[Record]:
    found: list[Record] = []
    for partition in range(topic.partitions):
        first, end = await log.bounds(topic.name, partition)
        reader = await log.reader(topic.name, partition, first)
        held: list[Record] = []
        while not held or held[-1].offset + 1 < end:
            if first == end:
                break
            held += await reader.poll(max_records=1000, timeout_seconds=5)
        found += held
        await reader.close()
    return found


async def test_a_node_registers_follows_answers_and_tells_of_it(kafka_bootstrap: str, tmp_path: Path) -> None:
    broker = await open_log(f"kafka://{kafka_bootstrap}")
    log = LogApart(broker, f"verification-{uuid.uuid4().hex[:8]}-")
    await log.ensure_topics(TOPICS)
    clock, facts = SystemClock(), Facts()
    org = facts.organization()
    key_id, token = facts.key(org, facts.user(org))
    index = open_index(tmp_path, generation=1, size_mb=32)
    settings = NodeSettings(node="node-1")
    node = VerifierNode(index, PEPPERS, log, settings=settings, clock=clock, randomness=SystemRandomness())
    running = asyncio.create_task(node.run())
    producer = await log.producer()
    try:
        await producer.send(LEDGER.name, 0, facts.records())
        head = Head(store=STORE, position=len(facts.entries), at=clock.now())
        await producer.send(HEADS.name, 0, [NewRecord(None, msgspec.json.encode(head))])
        await until(lambda: node.started)
        assert await everything(log, VERIFIERS)
        assert node.verify(token, Ask(clock.now(), source="192.0.2.1")).valid
        facts.append(key_id, KeyRevoked(organization_id=org, key_id=key_id))
        await producer.send(LEDGER.name, 0, facts.records(len(facts.entries) - 1))
        assert await node.freshness.wait_for(len(facts.entries), asked_at=clock.now()) == "applied"
        assert node.verify(token, Ask(clock.now(), source="192.0.2.1")).code == "revoked"
        running.cancel()
        await asyncio.wait([running])
        for topic in (AUTH, AUTH_BY_SOURCE):
            told = [one for record in await everything(log, topic) for one in read_attempts(record).attempts]
            assert [one.code for one in told] == ["valid", "revoked"]
    finally:
        running.cancel()
        await asyncio.wait([running])
        await producer.close()
        await broker.close()
        index.close()
