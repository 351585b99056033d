"""The published topics as one AsyncAPI 3.1 document: all that a subscriber of another team needs to know.

The private ledger topic is not in it: nobody but our own projectors may build on it.
"""

from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import msgspec
from msgspec import Struct

from keyledger.contracts.alert import RECORD_TYPE as ALERT
from keyledger.contracts.auth_event import RECORD_TYPE as AUTH_ATTEMPTS
from keyledger.contracts.cloudevents import TYPE_PREFIX
from keyledger.contracts.freshness import HEAD_TYPE, REPORT_TYPE
from keyledger.contracts.published_samples import Record, published_samples
from keyledger.contracts.topics import ALERTS, AUTH, AUTH_BY_SOURCE, DAY_MS, EVENTS, FOREVER, HEADS, VERIFIERS, Topic

_ABOUT: Final = """\
The facts of Keyledger on Apache Kafka. Every record is a CloudEvent 1.0 in Kafka's binary mode: its attributes are the
headers `ce_*`, in UTF-8; its value is the data, JSON.

What may change without a new version: records gain optional headers and fields, enumerations gain values, topics gain
message types. A subscriber skips what it does not know. Every other change of a fact's form raises `ce_schemaversion`;
of a topic, its name. Facts of an older form stay on the topic in the form in which they were published.

A record may come more than once. Within a partition the order is the one in which it was written.\
"""

_FACTS: Final = """\
Every fact, one record each, in the one order of the ledger: `ce_position` counts 1, 2, 3 ... without gaps. A record may
come twice: skip a position at or below the last one you have handled, and stop at one above the last plus one. What is
private appears as `Withheld`, so that no position is missing. No record holds a secret's digest. The topic is never
compacted: a new subscriber reads from the beginning.\
"""
_ATTEMPTS: Final = """\
Every attempt to get in with an API key, whatever its outcome; the attempts of a few milliseconds are one record of at
most 256 KiB. `ce_id` is `node.boot.partition.n`, and n counts 1, 2, 3 ... for each node, boot and partition: at or
below the last one it is a record sent again; a gap is a record that was lost with its node. An attempt has the same
`id` on both topics.\
"""
_BY_KEY: Final = (
    "Here an attempt's partition is the CRC-32 of its `key_id` (else `fingerprint`, else `source`), modulo 4."
)
_BY_SOURCE: Final = "Here an attempt's partition is the CRC-32 of its `source` (of an IPv6 address its /64), modulo 4."
_ALERTS: Final = """\
What the detectors say, and of which stream a projection could not fold a fact. `ce_id` follows from what the alert is
about alone: said again, after a crash or by a replay, it has the same one. Alerts without an organization concern the
operator.\
"""
_HEADS: Final = """\
About each second: the ledger held positions up to `position` at time `at`. Whoever has handled that position is current
as of that time. A head that is lost or comes twice does no harm: the next one says more.\
"""
_VERIFIERS: Final = """\
A verifier node's registration, then its heartbeats: what it has applied, and as of when it is fresh. The last record of
a node holds; `ce_id` is `node.boot.n`.\
"""


class _Header(Struct, frozen=True):
    description: str
    required: bool = True
    more: Mapping[str, Any] = {}


_COMMON: Final = {
    "ce_id": _Header("With `ce_source` unique: a second record with both is the same one."),
    "ce_source": _Header("Who wrote it.", more={"format": "uri-reference"}),
    "ce_time": _Header("When it happened, RFC 3339 in UTC.", more={"format": "date-time"}),
}
_OF_A_FACT: Final = {
    "ce_subject": _Header("What it happened to: the id of a key, owner or organization, or a role of one."),
    "ce_position": _Header("Its place in the ledger, decimal.", more={"pattern": "^[1-9][0-9]*$"}),
    "ce_organizationid": _Header("Whose it is."),
    "ce_streamversion": _Header(
        "Which fact about this subject it is, counted from 1, decimal.", more={"pattern": "^[1-9][0-9]*$"}
    ),
    "ce_actoruser": _Header("The user who did it, if one did.", required=False),
    "ce_actorkey": _Header("The API key it was done with, if it was.", required=False),
    "ce_requestid": _Header("The request that caused it."),
    "ce_traceparent": _Header("W3C Trace Context of that request.", required=False),
}
_OF_AN_ALERT: Final = {
    "ce_subject": _Header("What it is about: a source address, a stream."),
    "ce_organizationid": _Header("Whom it concerns; missing: the operator.", required=False),
}


class _Channel(Struct, frozen=True):
    """A topic as others see it. ``key``: what a record's key is; None where records have none."""

    name: str
    topic: Topic
    about: str
    key: str | None
    headers: Mapping[str, _Header] = {}
    records: tuple[str, ...] | None = None  # None: every fact


_CHANNELS: Final = (
    _Channel("events", EVENTS, _FACTS, "the subject, as in `ce_subject`", _OF_A_FACT),
    _Channel("alerts", ALERTS, _ALERTS, "the alert's id", _OF_AN_ALERT, (ALERT,)),
    _Channel("heads", HEADS, _HEADS, "the ledger's id", {}, (HEAD_TYPE,)),
    _Channel("auth", AUTH, f"{_ATTEMPTS}\n\n{_BY_KEY}", None, {}, (AUTH_ATTEMPTS,)),
    _Channel("authBySource", AUTH_BY_SOURCE, f"{_ATTEMPTS}\n\n{_BY_SOURCE}", None, {}, (AUTH_ATTEMPTS,)),
    _Channel("verifiers", VERIFIERS, _VERIFIERS, "the node's name", {}, (REPORT_TYPE,)),
)

_SCHEMAS: Final = "#/components/schemas/"

Form = tuple[str, int]
"""A record's type and the version of its form."""


def asyncapi_document(schemas: Mapping[Path, bytes], version: str) -> dict[str, Any]:
    """Return the document. ``schemas``: those of all published forms, also of older ones, by path as exported."""
    forms = {_form(path): msgspec.json.decode(text) for path, text in schemas.items()}
    components: dict[str, Any] = {}
    # The newest form of a type first: it has the plain name.
    payloads = {form: _hoisted(form, forms[form], components) for form in sorted(forms, reverse=True)}
    elsewhere = {name for channel in _CHANNELS for name in channel.records or ()}
    facts = sorted(form for form in forms if form[0] not in elsewhere)
    of_channel = {
        channel.name: facts if channel.records is None else [(name, 1) for name in channel.records]
        for channel in _CHANNELS
    }
    samples = published_samples()
    messages = {
        _message_name(form): {
            "summary": _summary(payloads[form], components),
            **_message(channel, form, payloads[form], samples),
        }
        for channel in _CHANNELS
        for form in of_channel[channel.name]
    }
    return {
        "asyncapi": "3.1.0",
        "info": {
            "title": "Keyledger",
            "version": version,
            "description": _prose(_ABOUT),
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": _servers(),
        "channels": {channel.name: _channel(channel, of_channel[channel.name]) for channel in _CHANNELS},
        "operations": {f"publish_{channel.name}": _operation(channel) for channel in _CHANNELS},
        "components": {
            "messages": messages,
            "schemas": dict(sorted(components.items())),
            "securitySchemes": _security_schemes(),
            "serverVariables": {
                "bootstrap": {
                    "default": "127.0.0.1:8710",
                    "description": "A broker's host and port; the default is the one of `make cluster`.",
                },
            },
        },
    }


def _form(path: Path) -> Form:
    name, version, _ = path.name.split(".")
    return name, int(version.removeprefix("v"))


def _message_name(form: Form) -> str:
    name, version = form
    return f"{name}.v{version}"


def _hoisted(form: Form, schema: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Move what the schema defines to the components; return the rest of it, which refers to them."""
    definitions = schema.get("$defs", {})
    plain = {name: name for name in definitions}
    hoisted = {name: _with_references(definition, plain) for name, definition in definitions.items()}
    if any(components.get(name, definition) != definition for name, definition in hoisted.items()):
        # An older form: what it shares with others by name may refer to what it does not share. It keeps its own.
        own = {name: f"{_message_name(form)}.{name}" for name in definitions}
        hoisted = {own[name]: _with_references(definition, own) for name, definition in definitions.items()}
        plain = own
    components.update(hoisted)
    rest = {keyword: value for keyword, value in schema.items() if keyword not in ("$schema", "$defs")}
    return dict(_with_references(rest, plain))


def _with_references(schema: Any, names: Mapping[str, str]) -> Any:
    match schema:
        case {"$ref": str(reference)}:
            return {"$ref": _SCHEMAS + names[reference.removeprefix("#/$defs/")]}
        case dict():
            return {key: _with_references(value, names) for key, value in schema.items()}
        case list():
            return [_with_references(item, names) for item in schema]
        case _:
            return schema


def _summary(payload: Mapping[str, Any], components: Mapping[str, Any]) -> str:
    """Return the first paragraph of what is said of a record, or of each of its items."""
    reference = payload["$ref"] if "$ref" in payload else payload["items"]["$ref"]
    description: str = components[reference.removeprefix(_SCHEMAS)]["description"]
    return " ".join(description.partition("\n\n")[0].split())


def _message(channel: _Channel, form: Form, payload: dict[str, Any], samples: Mapping[Form, Record]) -> dict[str, Any]:
    name, version = form
    headers = _COMMON | dict(channel.headers)
    constants = {"ce_specversion": "1.0", "ce_type": TYPE_PREFIX + name, "content-type": "application/json"}
    if channel.records is None:
        constants["ce_schemaversion"] = str(version)
    described = {
        header: {"type": "string", "description": one.description, **one.more} for header, one in headers.items()
    }
    fixed = {header: {"type": "string", "const": value} for header, value in constants.items()}
    message: dict[str, Any] = {
        "name": TYPE_PREFIX + name,
        "title": name,
        "contentType": "application/json",
        "headers": {
            "type": "object",
            "properties": fixed | described,
            "required": [*fixed, *(header for header, one in headers.items() if one.required)],
        },
        "payload": payload,
        "bindings": {"kafka": _key_binding(channel.key)},
    }
    if form in samples:  # of an older form none is written any more
        sent, data = samples[form]
        example = {name: value.decode() for name, value in sent}
        message["examples"] = [{"headers": example, "payload": msgspec.json.decode(data)}]
    return message


def _key_binding(key: str | None) -> dict[str, Any]:
    schema = {"type": "null"} if key is None else {"type": "string", "description": f"UTF-8: {key}."}
    return {"key": schema, "bindingVersion": "0.5.0"}


def _channel(channel: _Channel, forms: list[Form]) -> dict[str, Any]:
    topic = channel.topic
    return {
        "address": topic.name,
        "title": topic.purpose,
        "description": _prose(f"{channel.about}\n\n{_kept(topic)}"),
        "messages": {_message_name(form): {"$ref": f"#/components/messages/{_message_name(form)}"} for form in forms},
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {"cleanup.policy": ["delete"], "retention.ms": topic.retention_ms},
                "bindingVersion": "0.5.0",
            },
        },
    }


def _prose(text: str) -> str:
    """Return the text with one line for each paragraph."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


def _kept(topic: Topic) -> str:
    parts = "One partition" if topic.partitions == 1 else f"{topic.partitions} partitions, ordered each for itself"
    days = topic.retention_ms // DAY_MS
    kept = "for ever" if topic.retention_ms == FOREVER else f"{days} day{'s' if days > 1 else ''}"
    return f"{parts}; records are kept {kept}."


def _operation(channel: _Channel) -> dict[str, Any]:
    return {"action": "send", "channel": {"$ref": f"#/channels/{channel.name}"}}


def _servers() -> dict[str, Any]:
    bootstrap = {"bootstrap": {"$ref": "#/components/serverVariables/bootstrap"}}
    schemes = [{"$ref": f"#/components/securitySchemes/{name}"} for name in _security_schemes()]
    return {
        "plain": {
            "host": "{bootstrap}",
            "protocol": "kafka",
            "description": "As `make cluster` starts it, and within a network of its own.",
            "variables": bootstrap,
        },
        "secured": {
            "host": "{bootstrap}",
            "protocol": "kafka-secure",
            "description": "TLS, with SASL.",
            "variables": deepcopy(bootstrap),
            "security": schemes,
        },
    }


def _security_schemes() -> dict[str, Any]:
    return {
        "scramSha512": {"type": "scramSha512"},
        "scramSha256": {"type": "scramSha256"},
        "plain": {"type": "plain", "description": "SASL PLAIN, within TLS."},
    }
