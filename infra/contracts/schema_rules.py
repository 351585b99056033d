"""Whether one JSON Schema may take the place of another without breaking those who rely on it.

Of what Keyledger *sends*, whatever comes must be what a reader of the old schema expects. Of what it *receives*,
whatever was accepted must be accepted still. Readers tolerate what the documents announce: new fields and new values of
an enumeration. What these rules do not know counts as breaking.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

Direction = Literal["sent", "received"]
Schema = Mapping[str, Any]

UPPER: Final = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
LOWER: Final = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
JUDGED: Final = frozenset(
    {"type", "enum", "properties", "required", "additionalProperties", "items", "default", *UPPER, *LOWER}
)
ANNOTATIONS: Final = frozenset(
    {"$schema", "$id", "$comment", "$defs", "title", "description", "example", "examples", "deprecated"}
)


@dataclass(frozen=True)
class Comparison:
    """Two documents, by which references are resolved, and the direction in which their values travel."""

    old: Schema
    new: Schema
    direction: Direction
    under_way: list[tuple[int, int]] = field(default_factory=list)

    def breaks(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        """Yield a line for each way in which ``new`` breaks who relied on ``old``; ``at`` says where they stand."""
        pair = (id(old), id(new))
        if pair in self.under_way:  # a schema that contains itself
            return
        self.under_way.append(pair)
        olds, news = list(_alternatives(old, self.old)), list(_alternatives(new, self.new))
        # What can come (sent) or could be given (received) must each find a counterpart.
        if self.direction == "sent":
            for one in news:
                yield from min((list(self._one(other, one, at)) for other in _alike(one, olds)), key=len)
        else:
            for one in olds:
                yield from min((list(self._one(one, other, at)) for other in _alike(one, news)), key=len)
        self.under_way.pop()

    def _one(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        yield from self._types(old, new, at)
        yield from self._values(old, new, at)
        yield from self._bounds(old, new, at)
        yield from self._fields(old, new, at)
        yield from self._items(old, new, at)
        for keyword in sorted((old.keys() | new.keys()) - JUDGED - ANNOTATIONS):
            if old.get(keyword) != new.get(keyword) and not self._harmless(keyword, old, new):
                yield f"{at}: {keyword} changed from {old.get(keyword)!r} to {new.get(keyword)!r}"

    def _harmless(self, keyword: str, old: Schema, new: Schema) -> bool:
        """A restriction of what is sent tells readers more; one that goes lets senders do more."""
        restriction = keyword in ("pattern", "format", "multipleOf", "uniqueItems")
        return restriction and keyword not in (old if self.direction == "sent" else new)

    def _types(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        given, expected = (new, old) if self.direction == "sent" else (old, new)
        within = {expected.get("type"), "integer" if expected.get("type") == "number" else None}
        if "type" in expected and given.get("type", "anything") not in within:
            yield f"{at}: type changed from {old.get('type', 'anything')} to {new.get('type', 'anything')}"

    def _values(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        if "enum" in old and "enum" in new:
            for gone in (value for value in old["enum"] if value not in new["enum"]):
                yield f"{at}: value {gone!r} was removed"
        elif "enum" in (old if self.direction == "sent" else new):
            yield f"{at}: {'no longer' if self.direction == 'sent' else 'now'} one of a list of values"
        if self.direction == "received" and "default" in old and old["default"] != new.get("default"):
            yield f"{at}: default changed from {old['default']!r} to {new.get('default')!r}"

    def _bounds(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        wide, narrow = (old, new) if self.direction == "sent" else (new, old)
        for keyword in (*UPPER, *LOWER):
            limit, value = wide.get(keyword), narrow.get(keyword)
            beyond = limit is not None and (value is None or (value > limit if keyword in UPPER else value < limit))
            if beyond:
                yield f"{at}: {keyword} changed from {old.get(keyword)} to {new.get(keyword)}"

    def _fields(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        were, are = old.get("properties", {}), new.get("properties", {})
        for name in were.keys() - are.keys():
            yield f"{at}/{name}: was removed"
        was_required, is_required = set(old.get("required", ())), set(new.get("required", ()))
        if self.direction == "sent":
            for name in (was_required - is_required) & are.keys():
                yield f"{at}/{name}: may be missing now"
        else:
            for name in is_required - was_required:
                yield f"{at}/{name}: is required now"
        for name in sorted(were.keys() & are.keys()):
            yield from self.breaks(were[name], are[name], f"{at}/{name}")
        yield from self._other_fields(old.get("additionalProperties", True), new.get("additionalProperties", True), at)

    def _other_fields(self, old: Any, new: Any, at: str) -> Iterator[str]:
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from self.breaks(old, new, f"{at}/*")
            return
        expected, given = (old, new) if self.direction == "sent" else (new, old)
        if expected not in (True, {}) and given != expected and not (self.direction == "sent" and old is False):
            yield f"{at}: other fields are {'not what they were' if self.direction == 'sent' else 'refused now'}"

    def _items(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        if "items" in old and "items" in new:
            yield from self.breaks(old["items"], new["items"], f"{at}[]")
        elif "items" in (old if self.direction == "sent" else new):
            yield f"{at}[]: items are not what they were"


def _alternatives(schema: Schema, document: Schema) -> Iterator[Schema]:
    """Yield the plain schemas of which one holds: references resolved, ``anyOf`` and lists of types taken apart."""
    if "$ref" in schema:
        target = resolve(document, schema["$ref"])
        yield from _alternatives({**target, **{key: schema[key] for key in schema if key != "$ref"}}, document)
        return
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            rest = {key: value for key, value in schema.items() if key != keyword}
            for one in schema[keyword]:
                for plain in _alternatives(one, document):
                    yield {**rest, **plain}
            return
    if isinstance(schema.get("type"), list):
        for kind in schema["type"]:
            yield {**schema, "type": kind}
        return
    if "const" in schema:
        yield {**{key: value for key, value in schema.items() if key != "const"}, "enum": [schema["const"]]}
        return
    yield schema


def resolve(document: Schema, reference: str) -> Schema:
    """Return what a reference within the document points to."""
    found: Any = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    if not isinstance(found, Mapping):
        raise TypeError(f"{reference} is no schema")
    return found


def _alike(schema: Schema, others: list[Schema]) -> list[Schema]:
    """Return those of the same type, among which the counterpart is looked for; all of them where none is."""
    return [other for other in others if other.get("type") == schema.get("type")] or others
