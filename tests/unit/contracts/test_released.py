"""What was released stays: every planted break is found, and what only adds is let through."""

import shutil
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from infra.contracts.document_rules import asyncapi_breaks, openapi_breaks, schema_breaks
from infra.contracts.released import RELEASED, SCHEMAS, breaks, load

Change = Callable[[Any], object]

KEY_CREATED = load(RELEASED / "events" / "KeyCreated.v1.json")
ASYNCAPI = load(RELEASED / "asyncapi.yaml")
OPENAPI = load(RELEASED / "openapi" / "openapi.json")

NULLABLE = {"anyOf": [{"type": "string"}, {"type": "null"}]}


def _key(schema: Any) -> Any:
    return schema["$defs"]["KeyCreated"]


def _properties(schema: Any) -> Any:
    return _key(schema)["properties"]


RECORD_BREAKS: dict[str, Change] = {
    "a field goes": lambda schema: _properties(schema).pop("role"),
    "a field gets another name": lambda schema: _properties(schema).update(label=_properties(schema).pop("name")),
    "a field may be missing": lambda schema: _key(schema)["required"].remove("owner_id"),
    "a field may be null": lambda schema: _properties(schema).update(name=NULLABLE),
    "a field has another type": lambda schema: _properties(schema).update(name={"type": "integer"}),
    "a field has any type": lambda schema: _properties(schema).update(name={}),
    "a value of an enumeration goes": lambda schema: _properties(schema)["environment"]["enum"].remove("staging"),
    "an enumeration is any text": lambda schema: _properties(schema).update(environment={"type": "string"}),
    "a nested field goes": lambda schema: schema["$defs"]["PublishedSecret"]["properties"].pop("id"),
    "an unknown keyword comes": lambda schema: _properties(schema)["name"].update(contentEncoding="base64"),
}
RECORD_ADDITIONS: dict[str, Change] = {
    "a field": lambda schema: _properties(schema).update(tags={"type": "array", "items": {"type": "string"}}),
    "a field that is always there": lambda schema: (
        _properties(schema).update(tier={"type": "string"}),
        _key(schema)["required"].append("tier"),
    ),
    "a nested field": lambda schema: schema["$defs"]["PublishedSecret"]["properties"].update(hint={"type": "string"}),
    "a value of an enumeration": lambda schema: _properties(schema)["type"]["enum"].append("machine"),
    "a closer format": lambda schema: _properties(schema)["owner_id"].update(pattern="^user_"),
    "other words": lambda schema: _key(schema).update(description="A key came to be."),
    "a field that is never null any more": lambda schema: _properties(schema).update(role={"type": "string"}),
}


def _topic(document: Any, channel: str) -> Any:
    return document["channels"][channel]["bindings"]["kafka"]


ASYNCAPI_BREAKS: dict[str, Change] = {
    "a topic goes": lambda it: it["channels"].pop("alerts"),
    "a topic gets another name": lambda it: it["channels"]["events"].update(address="keyledger.events.v2"),
    "a topic has more partitions": lambda it: _topic(it, "events").update(partitions=4),
    "a topic is compacted": lambda it: _topic(it, "events")["topicConfiguration"].update(
        {"cleanup.policy": ["compact"]}
    ),
    "a topic keeps less": lambda it: _topic(it, "events")["topicConfiguration"].update({"retention.ms": 86_400_000}),
    "a message goes": lambda it: it["channels"]["events"]["messages"].pop("KeyRevoked.v1"),
    "a message is no JSON": lambda it: it["components"]["messages"]["KeyRevoked.v1"].update(contentType="text/plain"),
    "a header goes": lambda it: it["components"]["messages"]["KeyRevoked.v1"]["headers"]["properties"].pop(
        "ce_position"
    ),
    "a header may be missing": lambda it: it["components"]["messages"]["KeyRevoked.v1"]["headers"]["required"].remove(
        "ce_subject"
    ),
    "a type has another name": lambda it: it["components"]["messages"]["KeyRevoked.v1"]["headers"]["properties"][
        "ce_type"
    ].update(const="keyledger.KeyEnded"),
    "a field of a record goes": lambda it: it["components"]["schemas"]["AuthAttempt"]["properties"].pop("key_id"),
    "records lose their key": lambda it: it["components"]["messages"]["AlertRaised.v1"]["bindings"]["kafka"].update(
        key={"type": "null"}
    ),
    "a server speaks otherwise": lambda it: it["servers"]["plain"].update(protocol="mqtt"),
    "a way to say who one is goes": lambda it: it["servers"]["secured"]["security"].pop(),
    "nobody sends any more": lambda it: it["operations"].pop("publish_heads"),
}
ASYNCAPI_ADDITIONS: dict[str, Change] = {
    "a topic": lambda it: it["channels"].update(usage={**it["channels"]["heads"], "address": "keyledger.usage.v1"}),
    "a message": lambda it: it["channels"]["events"]["messages"].update({"KeyCreated.v2": {"$ref": "#/components"}}),
    "a header": lambda it: it["components"]["messages"]["KeyRevoked.v1"]["headers"]["properties"].update(
        ce_shard={"type": "string"}
    ),
    "longer retention": lambda it: _topic(it, "heads")["topicConfiguration"].update({"retention.ms": -1}),
    "a reason code": lambda it: it["components"]["schemas"]["AuthAttempt"]["properties"]["code"]["enum"].append(
        "disabled"
    ),
    "other words": lambda it: it["channels"]["events"].update(description="Facts."),
}


def _create(document: Any) -> Any:
    return document["paths"]["/v1/api-keys"]["post"]


def _list(document: Any) -> Any:
    return document["paths"]["/v1/api-keys"]["get"]


def _asked(document: Any) -> Any:
    return _create(document)["requestBody"]["content"]["application/json"]["schema"]


def _answered(document: Any) -> Any:
    reference = _create(document)["responses"]["201"]["content"]["application/json"]["schema"]["$ref"]
    return document["components"]["schemas"][reference.rpartition("/")[2]]


def _parameter(document: Any, name: str) -> Any:
    return next(one for one in _list(document)["parameters"] if one["name"] == name)


OPENAPI_BREAKS: dict[str, Change] = {
    "a path goes": lambda it: it["paths"].pop("/v1/alerts"),
    "a method goes": lambda it: it["paths"]["/v1/api-keys/{key_id}"].pop("patch"),
    "an answer goes": lambda it: _create(it)["responses"].pop("201"),
    "an answered field goes": lambda it: _answered(it)["properties"].pop("key"),
    "an answered field may be missing": lambda it: _answered(it)["required"].remove("name"),
    "an answered field has another type": lambda it: _answered(it)["properties"].update(key={"type": "integer"}),
    "an answered field may be null": lambda it: _answered(it)["properties"].update(name=NULLABLE),
    "a header of an answer goes": lambda it: _create(it)["responses"]["201"]["headers"].pop("Keyledger-Position"),
    "an answer is no JSON": lambda it: _create(it)["responses"]["201"].update(content={"text/html": {"schema": {}}}),
    "a new field must be sent": lambda it: (
        _asked(it)["properties"].update(purpose={"type": "string"}),
        _asked(it)["required"].append("purpose"),
    ),
    "a field must be sent": lambda it: _asked(it)["required"].append("environment"),
    "a field is not taken any more": lambda it: _asked(it)["properties"].pop("description"),
    "a text must be shorter": lambda it: _asked(it)["properties"]["name"].update(maxLength=3),
    "a text must be longer": lambda it: _asked(it)["properties"]["name"].update(minLength=5),
    "a text must look like something": lambda it: _asked(it)["properties"]["name"].update(pattern="^[a-z]+$"),
    "a value is not taken any more": lambda it: _asked(it)["properties"]["environment"]["enum"].remove("prod"),
    "a default is another": lambda it: _asked(it)["properties"]["environment"].update(default="prod"),
    "a parameter goes": lambda it: _list(it)["parameters"].remove(_parameter(it, "owner_id")),
    "a parameter must be sent": lambda it: _parameter(it, "type").update(required=True),
    "a number must be smaller": lambda it: _parameter(it, "limit")["schema"].update(maximum=5),
    "a body must be sent": lambda it: it["paths"]["/v1/alerts"]["get"].update(
        requestBody={"required": True, "content": {}}
    ),
    "a body is no JSON": lambda it: _create(it)["requestBody"].update(content={"text/plain": {"schema": {}}}),
    "generated clients lose a name": lambda it: _create(it).update(operationId="makeKey"),
    "another key is needed": lambda it: _create(it).update(security=[{"somethingElse": []}]),
}
OPENAPI_ADDITIONS: dict[str, Change] = {
    "a path": lambda it: it["paths"].update({"/v1/usage": {"get": {"responses": {"200": {"description": "x"}}}}}),
    "a method": lambda it: it["paths"]["/v1/alerts"].update(post={"responses": {"200": {"description": "x"}}}),
    "an answer": lambda it: _create(it)["responses"].update({"429": {"description": "slow down"}}),
    "an answered field": lambda it: _answered(it)["properties"].update(tier={"type": "string"}),
    "a header of an answer": lambda it: _create(it)["responses"]["201"]["headers"].update(
        RateLimit={"schema": {"type": "string"}}
    ),
    "a field that may be sent": lambda it: _asked(it)["properties"].update(tier={"type": "string"}),
    "a field that may be left out": lambda it: _asked(it)["required"].remove("name"),
    "a longer text": lambda it: _asked(it)["properties"]["name"].update(maxLength=5000),
    "a value that may be sent": lambda it: _asked(it)["properties"]["environment"]["enum"].append("test"),
    "a parameter": lambda it: _list(it)["parameters"].append(
        {"name": "tag", "in": "query", "required": False, "schema": {"type": "string"}}
    ),
    "other words": lambda it: _create(it).update(summary="Make a key"),
}


def _changed(document: Any, change: Change) -> Any:
    changed = deepcopy(document)
    change(changed)
    assert changed != document, "the change changes something"
    return changed


def test_nothing_that_was_released_is_broken() -> None:
    assert list(breaks(RELEASED, SCHEMAS)) == [], "raise a schema_version or add beside it; see CONTRIBUTING.md"


@pytest.mark.parametrize("name", RECORD_BREAKS)
def test_a_break_of_a_record_is_found(name: str) -> None:
    assert list(schema_breaks(KEY_CREATED, _changed(KEY_CREATED, RECORD_BREAKS[name]), "KeyCreated"))


@pytest.mark.parametrize("name", RECORD_ADDITIONS)
def test_a_record_may_gain(name: str) -> None:
    assert list(schema_breaks(KEY_CREATED, _changed(KEY_CREATED, RECORD_ADDITIONS[name]), "KeyCreated")) == []


@pytest.mark.parametrize("name", ASYNCAPI_BREAKS)
def test_a_break_of_the_topics_is_found(name: str) -> None:
    assert list(asyncapi_breaks(ASYNCAPI, _changed(ASYNCAPI, ASYNCAPI_BREAKS[name])))


@pytest.mark.parametrize("name", ASYNCAPI_ADDITIONS)
def test_the_topics_may_gain(name: str) -> None:
    assert list(asyncapi_breaks(ASYNCAPI, _changed(ASYNCAPI, ASYNCAPI_ADDITIONS[name]))) == []


@pytest.mark.parametrize("name", OPENAPI_BREAKS)
def test_a_break_of_the_http_api_is_found(name: str) -> None:
    assert list(openapi_breaks(OPENAPI, _changed(OPENAPI, OPENAPI_BREAKS[name])))


@pytest.mark.parametrize("name", OPENAPI_ADDITIONS)
def test_the_http_api_may_gain(name: str) -> None:
    assert list(openapi_breaks(OPENAPI, _changed(OPENAPI, OPENAPI_ADDITIONS[name]))) == []


def test_a_break_says_where_it_is() -> None:
    gone = _changed(KEY_CREATED, RECORD_BREAKS["a nested field goes"])
    assert list(schema_breaks(KEY_CREATED, gone, "KeyCreated")) == ["KeyCreated/secret/id: was removed"]


def test_a_break_is_found_wherever_the_broken_schema_is_used() -> None:
    shared = {"type": "object", "properties": {"at": {"type": "integer"}}, "required": ["at"]}
    reference = {"$ref": "#/$defs/A"}
    pair = {"type": "object", "properties": {"first": reference, "second": reference}}
    either = {"anyOf": [pair, {"type": "object", "properties": {"at": reference, "more": {"type": "string"}}}]}
    old: dict[str, Any] = {"$defs": {"A": shared}, "properties": {"pair": pair, "either": either}}
    new = deepcopy(old)
    new["$defs"]["A"]["properties"] = {"at": {"type": "string"}}
    found = list(schema_breaks(old, new, "it"))
    assert [line.partition(":")[0] for line in found] == [
        "it/either/first/at",
        "it/either/second/at",
        "it/either/at/at",
        "it/pair/first/at",
        "it/pair/second/at",
    ]


def test_a_schema_that_contains_itself_is_compared_to_its_end() -> None:
    either = {"anyOf": [{"$ref": "#/$defs/Node"}, {"type": "null"}]}
    old: dict[str, Any] = {
        "$ref": "#/$defs/Node",
        "$defs": {"Node": {"type": "object", "properties": {"next": either, "name": {"type": "string"}}}},
    }
    new = deepcopy(old)
    assert list(schema_breaks(old, new, "it")) == []
    new["$defs"]["Node"]["properties"]["name"] = {"type": "integer"}
    assert "it/name: type changed from string to integer" in list(schema_breaks(old, new, "it"))


def test_a_form_that_is_not_written_any_more_keeps_its_schema(tmp_path: Path) -> None:
    shutil.copytree(SCHEMAS, tmp_path / "schemas")
    (tmp_path / "schemas" / "events" / "KeyCreated.v1.json").unlink()
    (line,) = breaks(RELEASED, tmp_path / "schemas")
    assert "KeyCreated.v1: was removed" in line
