"""``schemas/`` says what the code says, and every form ever written stays readable."""

from pathlib import Path

import msgspec
import pytest

from keyledger.contracts.envelope import FIRST_PREV_HASH, Entry, Header, seal
from keyledger.contracts.exporting import asyncapi, differences, event_samples, event_schemas
from keyledger.contracts.registry import EVENT_TYPES, Published, UndecodableEvent, decode, encode, publish
from keyledger.contracts.samples import SAMPLES

SCHEMAS = Path(__file__).parents[3] / "schemas"
STORED_SAMPLES = sorted((SCHEMAS / "samples").glob("*.json"))


def _entry(path: Path) -> Entry:
    event_type, version, _ = path.name.split(".")
    header = Header(
        1, "org", "stream", 1, event_type, int(version.removeprefix("v")), False, 0, None, None, "req", "app", None
    )
    return seal(header, path.read_bytes().rstrip(b"\n"), FIRST_PREV_HASH)


def test_the_stored_schemas_are_those_of_the_code() -> None:
    assert differences(SCHEMAS, event_schemas()) == [], "run `make schemas` and commit what it writes"


def test_the_stored_asyncapi_document_is_that_of_the_code() -> None:
    assert differences(SCHEMAS, asyncapi(SCHEMAS)) == [], "run `make schemas` and commit what it writes"


def test_the_stored_samples_are_those_of_the_code() -> None:
    assert differences(SCHEMAS, event_samples()) == [], "a form changed: raise its schema_version, keep the old sample"


def test_every_event_type_has_a_sample() -> None:
    assert {type(sample).__name__ for sample in SAMPLES} == set(EVENT_TYPES)


@pytest.mark.parametrize("path", STORED_SAMPLES, ids=lambda path: path.name)
def test_every_form_ever_written_can_be_read(path: Path) -> None:
    entry = _entry(path)
    fact = decode(entry)
    assert fact is not None
    assert type(fact.event).__name__ == entry.header.type
    if entry.header.schema_version == EVENT_TYPES[entry.header.type].schema_version:
        assert fact.event in SAMPLES


@pytest.mark.parametrize("event", SAMPLES, ids=lambda event: type(event).__name__)
def test_no_published_form_holds_a_digest(event: object) -> None:
    encoded = encode(event)  # type: ignore[arg-type]
    header = Header(1, "org", "s", 1, encoded.type, 1, False, 0, None, None, "req", "app", None)
    record = publish(seal(header, encoded.data, FIRST_PREV_HASH))
    assert (record.type, record.schema_version) == (encoded.type, encoded.schema_version)
    published = msgspec.json.decode(record.data)
    assert "digest" not in str(published)
    assert "pepper" not in str(published)
    private = msgspec.json.decode(encoded.data)
    assert {**private, "secret": None} == {**published, "secret": None} or private == published


def _row(event_type: str, schema_version: int, data: bytes, *, may_ignore: bool = False) -> Entry:
    header = Header(1, "org", "s", 1, event_type, schema_version, may_ignore, 0, None, None, "req", "app", None)
    return seal(header, data, FIRST_PREV_HASH)


@pytest.mark.parametrize(("event_type", "version"), [("SecretThing", 1), ("TeamCreated", 2)])
def test_what_is_not_known_is_never_published_as_it_is(event_type: str, version: int) -> None:
    with pytest.raises(UndecodableEvent, match=event_type):
        publish(_row(event_type, version, b'{"digest":"x"}'))
    assert publish(_row(event_type, version, b'{"digest":"x"}', may_ignore=True)) == Published("Withheld", 1, b"{}")


def test_a_field_that_is_not_known_is_not_published() -> None:
    known = encode(next(sample for sample in SAMPLES if type(sample).__name__ == "TeamCreated"))
    more = known.data[:-1] + b',"digest":"x"}'
    assert publish(_row("TeamCreated", 1, more)) == Published("TeamCreated", 1, known.data)
