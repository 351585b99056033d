"""A subscriber that was generated from ``schemas/asyncapi.yaml`` alone understands all that Keyledger says."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.contracts.released import SCHEMAS, load
from tests.e2e.profiles import Distributed
from tests.e2e.subscriber.generated import Subscriber
from tests.e2e.world import eventually

SOURCE = "127.0.0.77"
Record = tuple[str, dict[str, str], bytes | None, bytes | None]
"""A channel's name, headers, key and value."""


@pytest.fixture
def document() -> Any:
    return load(SCHEMAS / "asyncapi.yaml")


def _live_through_everything(origin: str, root_key: str) -> None:
    """Make every kind of fact, attempts that succeed and fail, and an alert."""
    with httpx2.Client(base_url=origin, headers={"Authorization": f"Bearer {root_key}"}, timeout=120) as client:

        def made(path: str, **body: Any) -> Any:
            answer = client.post(path, json=body)
            assert answer.status_code == 201, answer.text
            return answer.json()

        made("/v1/roles", id="short-lived", name="Short-lived", permissions=["agents:read"])
        assert client.delete("/v1/roles/short-lived").status_code == 204
        user = made("/v1/users", name="Ada", roles=["developer"])
        team = made("/v1/teams", name="Payments")
        service = made("/v1/service-accounts", name="export")
        made("/v1/api-keys", name="Ada's", owner_id=user["id"])
        made("/v1/api-keys", name="a team's", type="team", owner_id=team["id"], role="viewer")
        key = made(
            "/v1/api-keys",
            name="a service's",
            type="service",
            owner_id=service["id"],
            role="developer",
            environment="prod",
            expires_at="2099-01-31T12:00:00Z",
        )
        path = f"/v1/api-keys/{key['id']}"
        assert client.patch(path, json={"description": "watched", "expires_at": None}).status_code == 200
        rotated = client.post(f"{path}/rotate", json={"grace_seconds": 60}).json()["key"]
        for change in ("rotate/finish", "disable", "enable"):
            assert client.post(f"{path}/{change}").status_code == 200
        for change in ("deactivate", "reactivate"):
            assert client.post(f"/v1/users/{user['id']}/{change}").status_code == 200
        elsewhere = httpx2.HTTPTransport(local_address=SOURCE)
        with httpx2.Client(base_url=origin, transport=elsewhere, timeout=120) as stranger:

            def status(token: str) -> int:
                return stranger.get("/v1/auth/verify", headers={"Authorization": f"Bearer {token}"}).status_code

            eventually(lambda: status(rotated), lambda answer: answer == 200, "the new secret is accepted")
            assert client.delete(path).status_code == 204
            eventually(lambda: status(rotated), lambda answer: answer == 401, "the revoked key is refused")
            for number in range(20):
                status(f"kl_dev_{number:022}_{number:033}")
        eventually(
            lambda: client.get("/v1/alerts").json()["data"],
            lambda alerts: any(alert["subject"] == SOURCE for alert in alerts),
            f"an alert about {SOURCE}",
        )


@pytest.mark.xdist_group("e2e")
def test_it_understands_every_record_of_a_running_keyledger(
    distributed: Distributed, document: Any, tmp_path: Path
) -> None:
    _live_through_everything(distributed.origin, distributed.root_key())

    heard = Subscriber(tmp_path, document).listen(distributed.kafka_bootstrap)

    assert heard.drifted == []
    assert heard.keyledger_modules == []
    private = "Withheld.v1"  # no fact is private yet
    assert {record["message"] for record in heard.decoded} == set(document["components"]["messages"]) - {private}
    assert {record["channel"] for record in heard.decoded} == set(document["channels"])
    positions = [int(record["headers"]["ce_position"]) for record in heard.decoded if record["channel"] == "events"]
    once = list(dict.fromkeys(positions))  # a relay that was killed may have sent some twice
    assert once == list(range(1, len(once) + 1)), "in order and without gaps, as the document says"


def _examples(document: Any) -> list[Record]:
    return [
        (
            channel,
            example["headers"],
            b"key" if message["bindings"]["kafka"]["key"]["type"] == "string" else None,
            json.dumps(example["payload"]).encode(),
        )
        for channel, description in document["channels"].items()
        for name in description["messages"]
        for message in [document["components"]["messages"][name]]
        for example in message["examples"]
    ]


def _drifts(document: Any) -> dict[str, Record]:
    """Records that are not what the document says, each by what is wrong with it."""
    channel, headers, key, value = next(
        one for one in _examples(document) if one[1]["ce_type"] == "keyledger.KeyCreated"
    )
    data = json.loads(value or b"")

    def with_data(**fields: Any) -> bytes:
        return json.dumps({**data, **fields}).encode()

    return {
        "a field is missing": (channel, headers, key, json.dumps(_without(data, "key_id")).encode()),
        "a field has another type": (channel, headers, key, with_data(name=7)),
        "a nested field is missing": (channel, headers, key, with_data(secret={"activates": "now"})),
        "a value that no enumeration has": (channel, headers, key, with_data(environment="moon")),
        "no JSON": (channel, headers, key, b"KeyCreated"),
        "no value at all": (channel, headers, key, None),
        "a list": (channel, headers, key, b"[]"),
        "a type that nobody knows": (channel, {**headers, "ce_type": "keyledger.KeyLost"}, key, value),
        "a form that nobody knows": (channel, {**headers, "ce_schemaversion": "9"}, key, value),
        "a header is missing": (channel, _without(headers, "ce_position"), key, value),
        "a position that is no number": (channel, {**headers, "ce_position": "first"}, key, value),
        "a time that is none": (channel, {**headers, "ce_time": "yesterday"}, key, value),
        "no key": (channel, headers, None, value),
        "another channel's record": ("alerts", headers, key, value),
    }


def _without(fields: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in fields.items() if other != name}


async def _publish(bootstrap: str, document: Any, records: list[Record]) -> None:
    addresses = {name: channel["address"] for name, channel in document["channels"].items()}
    topics = [channel["bindings"]["kafka"] | {"topic": channel["address"]} for channel in document["channels"].values()]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic["topic"], topic["partitions"], 1) for topic in topics])
    finally:
        await admin.close()
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for channel, headers, key, value in records:
            sent = [(name, text.encode()) for name, text in headers.items()]
            await producer.send_and_wait(addresses[channel], value=value, key=key, headers=sent)
    finally:
        await producer.stop()


@pytest.mark.kafka
async def test_it_finds_every_record_that_is_not_what_the_document_says(
    kafka_bootstrap: str, document: Any, tmp_path: Path
) -> None:
    # Topics of its own, since the document says what they are called.
    elsewhere = deepcopy(document)
    for channel in elsewhere["channels"].values():
        channel["address"] = f"{channel['address']}.{uuid4().hex[:8]}"
    grown = _examples(document)[0]
    more = {**json.loads(grown[3] or b""), "a_later_field": 1}
    good = [*_examples(document), (grown[0], {**grown[1], "ce_later": "x"}, grown[2], json.dumps(more).encode())]
    drifts = _drifts(document)
    await _publish(kafka_bootstrap, elsewhere, [*good, *drifts.values()])

    heard = Subscriber(tmp_path, elsewhere).listen(kafka_bootstrap)

    assert len(heard.decoded) == len(good), "what only grew is understood"
    assert len(heard.drifted) == len(drifts)
    assert {record["message"] for record in heard.decoded} == set(document["components"]["messages"])
