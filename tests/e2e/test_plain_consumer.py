"""What another team's service sees: only aiokafka and the CloudEvents SDK here, nothing of Keyledger's."""

import asyncio
import json
from typing import Any

import httpx2
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event

from tests.e2e.profiles import Distributed

DEADLINE_SECONDS = 120


async def _read_until(bootstrap: str, topic: str, subject: str, last_type: str) -> list[KafkaMessage]:
    """Return every record of the topic up to the one of ``last_type`` about ``subject``."""
    partition = TopicPartition(topic, 0)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([partition])
        messages: list[KafkaMessage] = []
        async for record in consumer:
            messages.append(KafkaMessage(dict(record.headers), record.key, record.value))
            named = {name: value.decode() for name, value in record.headers}
            if (named["ce_subject"], named["ce_type"]) == (subject, last_type):
                return messages
    finally:
        await consumer.stop()
    raise AssertionError("the stream ended")


def _live_through(origin: str, root_key: str) -> str:
    own = {"Authorization": f"Bearer {root_key}"}
    with httpx2.Client(base_url=origin, headers=own, timeout=DEADLINE_SECONDS) as client:
        key_id = str(client.post("/v1/api-keys", json={"name": "watched"}).json()["id"])
        assert client.post(f"/v1/api-keys/{key_id}/rotate").status_code == 200
        assert client.delete(f"/v1/api-keys/{key_id}").status_code == 204
    return key_id


@pytest.mark.xdist_group("e2e")
async def test_a_plain_consumer_sees_the_facts_as_cloudevents_and_no_digest(distributed: Distributed) -> None:
    key_id = _live_through(distributed.origin, distributed.root_key())
    async with asyncio.timeout(DEADLINE_SECONDS):
        published = await _read_until(
            distributed.kafka_bootstrap, "keyledger.events.v1", key_id, "keyledger.KeyRevoked"
        )
        private = await _read_until(distributed.kafka_bootstrap, "keyledger.ledger.v1", key_id, "keyledger.KeyRevoked")

    events = [from_binary_event(message) for message in published]
    mine = [event for event in events if event.get_subject() == key_id]
    assert [event.get_type() for event in mine] == [
        "keyledger.KeyCreated",
        "keyledger.KeyRotated",
        "keyledger.KeyRevoked",
    ]
    positions = dict.fromkeys(int(event.get_extension("position")) for event in events)
    assert list(positions) == list(range(1, len(positions) + 1)), "a relay that was killed may have sent some twice"
    digests = _digests(private)
    assert len(digests) >= 2, "the private topic has them, so their absence below means something"
    for message in published:
        key = message.key if isinstance(message.key, bytes) else b""
        everything = message.value + b"".join(message.headers.values()) + key
        assert b"digest" not in message.value
        assert not any(digest in everything for digest in digests)


def _digests(messages: list[KafkaMessage]) -> set[bytes]:
    data: list[dict[str, Any]] = [json.loads(message.value) for message in messages]
    return {item["secret"]["digest"].encode() for item in data if "secret" in item}
