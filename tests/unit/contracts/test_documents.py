"""The contracts are what their formats ask for, and what they show as examples is true."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from infra.contracts.released import SCHEMAS, load
from infra.contracts.schema_rules import resolve
from keyledger.contracts.asyncapi import asyncapi_document
from keyledger.contracts.published_samples import published_samples
from keyledger.contracts.topics import ALERTS, LEDGER, TOPICS
from keyledger.projections.announcing import announce
from keyledger.projections.port import Parked
from keyledger.testing.memory_log import MemoryLog

ASYNCAPI = load(SCHEMAS / "asyncapi.yaml")
MESSAGES: dict[str, Any] = ASYNCAPI["components"]["messages"]
EVENT_SCHEMAS = sorted((SCHEMAS / "events").glob("*.json"))


def test_the_openapi_document_is_one() -> None:
    validate(load(SCHEMAS / "openapi" / "openapi.json"))


@pytest.mark.parametrize("path", EVENT_SCHEMAS, ids=lambda path: path.stem)
def test_every_schema_is_one(path: Path) -> None:
    Draft202012Validator.check_schema(load(path))


@pytest.mark.parametrize("name", MESSAGES)
def test_every_example_is_what_the_document_says(name: str) -> None:
    message = MESSAGES[name]
    for example in message["examples"]:
        for part in ("headers", "payload"):
            schema = {**message[part], "components": ASYNCAPI["components"]}
            Draft202012Validator(schema, format_checker=Draft202012Validator.FORMAT_CHECKER).validate(example[part])


def test_every_published_form_is_a_message_and_has_an_example() -> None:
    assert {path.stem for path in EVENT_SCHEMAS} == set(MESSAGES)
    assert {f"{name}.v{version}" for name, version in published_samples()} <= set(MESSAGES)


def test_every_topic_but_the_private_one_is_a_channel_with_its_own_settings() -> None:
    channels = {channel["address"]: channel["bindings"]["kafka"] for channel in ASYNCAPI["channels"].values()}
    assert set(channels) == {topic.name for topic in TOPICS} - {LEDGER.name}
    for topic in TOPICS:
        if topic != LEDGER:
            kafka = channels[topic.name]
            assert (kafka["topic"], kafka["partitions"]) == (topic.name, topic.partitions)
            assert kafka["topicConfiguration"]["retention.ms"] == topic.retention_ms


def test_nothing_in_the_document_knows_of_a_digest() -> None:
    for message in MESSAGES.values():
        payload = message["payload"]
        schema = resolve(ASYNCAPI, payload["$ref"]) if "$ref" in payload else payload
        assert "digest" not in schema.get("properties", {})
    assert "digest" not in ASYNCAPI["components"]["schemas"]["PublishedSecret"]["properties"]


def test_a_form_of_before_keeps_its_own_schema_beside_the_one_of_today() -> None:
    stored = {Path("events") / path.name: path.read_bytes() for path in EVENT_SCHEMAS}
    before = load(SCHEMAS / "events" / "KeyCreated.v1.json")
    # Broken where only what KeyCreated refers to says something else: "secret" was a number.
    before["$defs"]["PublishedSecret"] = {"type": "integer"}
    stored[Path("events/KeyCreated.v2.json")] = stored[Path("events/KeyCreated.v1.json")]
    stored[Path("events/KeyCreated.v1.json")] = json.dumps(before).encode()

    document = asyncapi_document(stored, "0")

    messages = document["components"]["messages"]
    assert {"KeyCreated.v1", "KeyCreated.v2"} <= set(document["channels"]["events"]["messages"])
    assert messages["KeyCreated.v2"]["headers"]["properties"]["ce_schemaversion"]["const"] == "2"
    today = MESSAGES["KeyCreated.v1"]["examples"][0]["payload"]
    for version, secret, accepted in (
        ("v1", 7, True),
        ("v1", {"id": "s1"}, False),
        ("v2", {"id": "s1"}, True),
        ("v2", 7, False),
    ):
        schema = {**messages[f"KeyCreated.{version}"]["payload"], "components": document["components"]}
        assert Draft202012Validator(schema).is_valid({**today, "secret": secret}) is accepted


async def test_the_alert_that_a_stream_is_parked_is_one_of_the_documents_alerts() -> None:
    event_log = MemoryLog()
    await event_log.ensure_topics([ALERTS])
    parked = Parked(stream="key_1", position=7, version=2, type="KeyMoved", recorded_at=1, offset=6, reason="unknown")
    await announce(event_log, "verification", [parked])
    (record,) = event_log.held(ALERTS.name, 0)
    message = MESSAGES["AlertRaised.v1"]
    said = {name: value.decode() for name, value in record.headers}, json.loads(record.value or b"")
    for part, value in zip(("headers", "payload"), said, strict=True):
        Draft202012Validator({**message[part], "components": ASYNCAPI["components"]}).validate(value)
