"""An event type whose form broke twice: what was written before is read, and published, in the form of today.

The type is one of these tests: no form of Keyledger's has been broken yet.
"""

from copy import deepcopy
from traceback import format_exception
from typing import Any

import msgspec
import pytest
from msgspec import Struct

from keyledger.contracts.cloudevents import published_record
from keyledger.contracts.envelope import FIRST_PREV_HASH, Entry, Header, seal
from keyledger.contracts.registry import EventType, Published, UndecodableEvent, decode, publish
from keyledger.domain.events import KeyRevoked, Secret


class Price(Struct, frozen=True):
    cents: int
    currency: str


class SeatPriced(Struct, frozen=True, kw_only=True):
    seat_id: str
    price: Price
    secret: Secret


def _cents(form_1: dict[str, Any]) -> dict[str, Any]:
    """Form 1 had ``{"seat": ..., "euros": 1.25}``, form 2 ``{"seat": ..., "cents": 125}``."""
    return {"seat": form_1["seat"], "secret": form_1["secret"], "cents": round(100 * form_1["euros"])}


def _any_currency(form_2: dict[str, Any]) -> dict[str, Any]:
    return {
        "seat_id": form_2["seat"],
        "secret": form_2["secret"],
        "price": {"cents": form_2["cents"], "currency": "EUR"},
    }


TYPES = {"SeatPriced": EventType(SeatPriced, upcasters=(_cents, _any_currency))}
SECRET = {"id": "s1", "digest": "AAAA", "pepper": "0123"}
FORMS: dict[int, dict[str, Any]] = {
    1: {"seat": "s-12", "euros": 1.25, "secret": SECRET},
    2: {"seat": "s-12", "cents": 125, "secret": SECRET},
    3: {"seat_id": "s-12", "price": {"cents": 125, "currency": "EUR"}, "secret": SECRET},
}
TODAY = SeatPriced(seat_id="s-12", price=Price(125, "EUR"), secret=Secret(id="s1", digest=bytes(3), pepper="0123"))


def _row(version: int, data: object, *, may_ignore: bool = False) -> Entry:
    header = Header(7, "org", "s", 1, "SeatPriced", version, may_ignore, 0, None, None, "req", "app", None)
    return seal(header, msgspec.json.encode(data), FIRST_PREV_HASH)


def test_the_version_of_a_form_counts_its_breaking_changes() -> None:
    assert EventType(SeatPriced).schema_version == 1
    assert TYPES["SeatPriced"].schema_version == 3


@pytest.mark.parametrize("version", FORMS)
def test_every_form_ever_written_is_read_in_the_form_of_today(version: int) -> None:
    fact = decode(_row(version, FORMS[version]), TYPES)
    assert fact is not None
    event: object = fact.event
    assert event == TODAY
    assert fact.header.schema_version == version, "the header stays what was hashed"


@pytest.mark.parametrize("version", FORMS)
def test_every_form_ever_written_is_published_in_the_form_of_today_and_without_a_digest(version: int) -> None:
    data = b'{"seat_id":"s-12","price":{"cents":125,"currency":"EUR"},"secret":{"id":"s1","activates":"now"}}'
    assert publish(_row(version, FORMS[version]), TYPES) == Published("SeatPriced", 3, data)


@pytest.mark.parametrize("version", [0, 4])
def test_a_form_that_is_not_known_yet_is_refused_or_skipped_as_its_envelope_says(version: int) -> None:
    with pytest.raises(UndecodableEvent, match="not known"):
        decode(_row(version, FORMS[3]), TYPES)
    assert decode(_row(version, FORMS[3], may_ignore=True), TYPES) is None


@pytest.mark.parametrize("data", [{}, [], {**FORMS[1], "euros": "much"}, {**FORMS[1], "euros": float("inf")}])
def test_data_that_does_not_fit_its_own_old_form_is_named_with_its_position(data: object) -> None:
    with pytest.raises(UndecodableEvent, match="position 7"):
        decode(_row(1, data), TYPES)


@pytest.mark.parametrize("version", FORMS)
@pytest.mark.parametrize(
    ("old", "new"), [(b'"s-12"', b'"\xff"'), (b'{"seat', b'{"more":' + b"[" * 9000)], ids=["no text", "no end"]
)
def test_data_that_cannot_be_read_at_all_is_named_with_its_position(version: int, old: bytes, new: bytes) -> None:
    row = _row(version, FORMS[version])
    with pytest.raises(UndecodableEvent, match="position 7"):
        decode(seal(row.header, row.data.replace(old, new), FIRST_PREV_HASH), TYPES)


def _by_name(form_2: dict[str, Any]) -> dict[str, Any]:
    return {**FORMS[3], "seat_id": form_2["seat"].lower(), "price": {"cents": int(form_2["cents"]), "currency": "EUR"}}


@pytest.mark.parametrize(
    ("event_type", "data"),
    [
        (EventType(KeyRevoked), {"organization_id": "o", "key_id": "k", "reason": "hush-hush"}),
        (EventType(SeatPriced, upcasters=(_by_name,)), {"seat": "s-12", "cents": "hush-hush"}),
        (EventType(SeatPriced, upcasters=(_by_name,)), {"seat": 12, "cents": 125}),
    ],
    ids=["an enumeration's value", "an older form's number", "an older form's name"],
)
def test_the_trace_of_an_event_that_cannot_be_read_repeats_nothing_of_it(event_type: EventType, data: object) -> None:
    with pytest.raises(UndecodableEvent) as refused:
        decode(_row(1, data), {"SeatPriced": event_type})
    assert "hush-hush" not in "".join(format_exception(refused.value))


def test_upcasters_change_nothing_that_they_were_given() -> None:
    form_1, form_2 = deepcopy(FORMS[1]), deepcopy(FORMS[2])
    assert _any_currency(_cents(form_1)) == _any_currency(form_2) == FORMS[3]
    assert (form_1, form_2) == (FORMS[1], FORMS[2])


def test_a_record_names_the_version_of_what_it_holds_and_not_of_what_is_left_out() -> None:
    headers, data = published_record(_row(9, FORMS[3], may_ignore=True), "store")
    named = dict(headers)
    assert (named["ce_type"], named["ce_schemaversion"], data) == (b"keyledger.Withheld", b"1", b"{}")
