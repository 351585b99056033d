"""Whether a document of today may take the place of the released one: JSON Schemas of records, AsyncAPI, OpenAPI."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from infra.contracts.schema_rules import Comparison, resolve

Document = Mapping[str, Any]
METHODS: Final = ("get", "put", "post", "delete", "options", "head", "patch", "trace")


def schema_breaks(old: Document, new: Document, name: str) -> Iterator[str]:
    """Yield what breaks a reader of a kind of record."""
    yield from Comparison(old, new, "sent").breaks(old, new, name)


def asyncapi_breaks(old: Document, new: Document) -> Iterator[str]:
    """Yield what breaks a subscriber: where to connect, how a topic keeps and orders, what its records hold."""
    for name, server in old["servers"].items():
        now = new["servers"].get(name, {})
        if server["protocol"] != now.get("protocol"):
            yield f"servers/{name}: protocol was {server['protocol']}"
        for scheme in server.get("security", []):
            if scheme not in now.get("security", []):
                yield f"servers/{name}: {scheme['$ref'].rpartition('/')[2]} was removed"
    for name, operation in old["operations"].items():
        if new["operations"].get(name) != operation:
            yield f"operations/{name}: was removed or changed"
    for name, channel in old["channels"].items():
        if name in new["channels"]:
            yield from _channel_breaks(old, new, channel, new["channels"][name], f"channels/{name}")
        else:
            yield f"channels/{name}: was removed"


def _channel_breaks(old: Document, new: Document, was: Document, now: Document, at: str) -> Iterator[str]:
    if was["address"] != now["address"]:
        yield f"{at}: address was {was['address']}"
    old_topic, new_topic = was["bindings"]["kafka"], now["bindings"]["kafka"]
    if old_topic["partitions"] != new_topic["partitions"]:
        yield f"{at}: had {old_topic['partitions']} partitions: what had one order may have none now"
    old_kept, new_kept = old_topic["topicConfiguration"], new_topic["topicConfiguration"]
    if old_kept["cleanup.policy"] != new_kept["cleanup.policy"]:
        yield f"{at}: cleanup.policy was {old_kept['cleanup.policy']}"
    if _kept_ms(new_kept) < _kept_ms(old_kept):
        yield f"{at}: retention.ms was {old_kept['retention.ms']}"
    for name, message in was["messages"].items():
        if name not in now["messages"]:
            yield f"{at}/{name}: was removed"
            continue
        one, other = resolve(old, message["$ref"]), resolve(new, now["messages"][name]["$ref"])
        if one["contentType"] != other["contentType"]:
            yield f"{at}/{name}: contentType was {one['contentType']}"
        for part in ("headers", "payload"):
            yield from Comparison(old, new, "sent").breaks(one[part], other[part], f"{at}/{name} {part}")
        key, now_key = (document["bindings"]["kafka"]["key"] for document in (one, other))
        yield from Comparison(old, new, "sent").breaks(key, now_key, f"{at}/{name} key")


def _kept_ms(configuration: Document) -> float:
    kept: int = configuration["retention.ms"]
    return float("inf") if kept == -1 else kept


def openapi_breaks(old: Document, new: Document) -> Iterator[str]:
    """Yield what breaks a caller: what may be asked, and what is answered."""
    for path, operations in old["paths"].items():
        for method, operation in operations.items():
            if method not in METHODS:
                continue
            at = f"{method.upper()} {path}"
            now = new["paths"].get(path, {}).get(method)
            if now is None:
                yield f"{at}: was removed"
                continue
            if operation.get("operationId") != now.get("operationId"):
                yield f"{at}: operationId was {operation.get('operationId')}: generated clients call it that"
            if operation.get("security", old.get("security")) != now.get("security", new.get("security")):
                yield f"{at}: security changed"
            yield from _parameter_breaks(old, new, operation, now, at)
            yield from _body_breaks(old, new, operation.get("requestBody"), now.get("requestBody"), at)
            yield from _answer_breaks(old, new, operation["responses"], now["responses"], at)


def _parameter_breaks(old: Document, new: Document, was: Document, now: Document, at: str) -> Iterator[str]:
    olds, news = (
        {(one["in"], one["name"]): one for one in operation.get("parameters", [])} for operation in (was, now)
    )
    for place, name in olds.keys() - news.keys():
        yield f"{at}: {place} parameter {name} was removed"
    for (place, name), parameter in news.items():
        before = olds.get((place, name), {"required": False})
        if parameter.get("required", False) and not before.get("required", False):
            yield f"{at}: {place} parameter {name} is required now"
        if "schema" in before:
            comparison = Comparison(old, new, "received")
            yield from comparison.breaks(before["schema"], parameter["schema"], f"{at} {name}")


def _body_breaks(old: Document, new: Document, was: Document | None, now: Document | None, at: str) -> Iterator[str]:
    if now is not None and now.get("required", False) and not (was or {}).get("required", False):
        yield f"{at}: a body is required now"
    if was is not None:
        yield from _content_breaks(Comparison(old, new, "received"), was, now or {}, f"{at} body")


def _answer_breaks(old: Document, new: Document, was: Document, now: Document, at: str) -> Iterator[str]:
    for status, answer in was.items():
        if status not in now:
            yield f"{at} {status}: was removed"
            continue
        yield from _content_breaks(Comparison(old, new, "sent"), answer, now[status], f"{at} {status}")
        for name, header in answer.get("headers", {}).items():
            if name not in now[status].get("headers", {}):
                yield f"{at} {status}: header {name} was removed"
                continue
            there = now[status]["headers"][name]
            yield from Comparison(old, new, "sent").breaks(header["schema"], there["schema"], f"{at} {status} {name}")


def _content_breaks(comparison: Comparison, was: Document, now: Document, at: str) -> Iterator[str]:
    for kind, body in was.get("content", {}).items():
        there = now.get("content", {}).get(kind)
        if there is None:
            yield f"{at}: {kind} was removed"
            continue
        yield from comparison.breaks(body.get("schema", {}), there.get("schema", {}), f"{at} {kind}")
