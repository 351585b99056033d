"""Single values of bodies, by property: whatever is sent, it is refused by name or can be kept."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from keyledger_commands.bodies import CreateKeyBody, CreateUserBody


def expiry_of(text: object) -> datetime | None:
    return CreateKeyBody.model_validate({"name": "x", "expires_at": text}).expires_at


@given(
    st.datetimes(
        datetime(2, 1, 1),  # noqa: DTZ001 - the offset comes from the next strategy
        datetime(9998, 12, 31),  # noqa: DTZ001
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    )
)
def test_a_time_with_any_offset_is_the_same_moment_in_utc(moment: datetime) -> None:
    read = expiry_of(moment.isoformat())
    assert read == moment
    assert read.tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["2027-01-31t12:00:00z", "2027-01-31T12:00:00.123456789Z", "2027-01-31T12:00:00+00:00"]
)
def test_rfc_3339_in_all_its_forms_is_understood(text: str) -> None:
    read = expiry_of(text)
    assert read is not None
    assert read.replace(microsecond=0) == datetime(2027, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-31 12:00:00Z",
        "2027-01-31T12:00Z",
        "2027-01-31T24:00:00Z",
        "2027-01-31T12:00:60Z",
        "2027-W05-1T12:00:00Z",
        "20270131T120000Z",
        "2027-01-31T12:00:00+01",
        "2027-01-31T12:00:00+0100",
        "2027-01-31T12:00:00Z ",
        "\u0662\u0660\u0662\u0667-01-31T12:00:00Z",
        "",
        True,
        0,
        1.5,
        [],
        {},
    ],
)
def test_what_is_no_rfc_3339_is_refused(text: object) -> None:
    with pytest.raises(ValidationError, match="RFC 3339"):
        expiry_of(text)


@given(st.text(st.characters(codec=None, categories=None), max_size=300))
def test_a_name_is_refused_or_can_be_written(name: str) -> None:
    try:
        kept = CreateKeyBody.model_validate({"name": name}).name
    except ValidationError:
        return
    assert 1 <= len(kept) <= 255
    assert kept == kept.strip()
    assert len(kept.encode()) <= 1024
    assert not any(ord(letter) < 32 or 0x7F <= ord(letter) < 0xA0 for letter in kept)


def test_a_role_that_is_named_twice_counts_once() -> None:
    body = CreateUserBody.model_validate({"name": "x", "roles": ["viewer", "viewer"]})
    assert body.all_roles == ("viewer",)
    assert CreateUserBody.model_validate({"name": "x"}).all_roles == ("viewer",)
