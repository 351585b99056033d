"""The contracts are what their formats ask for, and what they show as examples is true."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator
from openapi_spec_validator import validate

from infra.contracts.released import SCHEMAS, load
from infra.contracts.schema_rules import resolve
from keyledger.contracts.published_samples import published_samples
from keyledger.contracts.topics import LEDGER, TOPICS

ASYNCAPI = load(SCHEMAS / "asyncapi.yaml")
MESSAGES: dict[str, Any] = ASYNCAPI["components"]["messages"]
EVENT_SCHEMAS = sorted((SCHEMAS / "events").glob("*.json"))


def test_the_openapi_document_is_one() -> None:
    validate(load(SCHEMAS / "openapi" / "openapi.json"))


@pytest.mark.parametrize("path", EVENT_SCHEMAS, ids=lambda path: path.stem)
def test_every_schema_is_one(path: Any) -> None:
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
