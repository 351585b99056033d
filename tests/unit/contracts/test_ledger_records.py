"""The records of the two ledger topics, byte for byte: whoever reads them in another language starts from these."""

from keyledger.contracts.cloudevents import attributes, private_record, published_record, read_private, rfc3339
from keyledger.contracts.envelope import FIRST_PREV_HASH, Entry, Header, encode_header, seal
from keyledger.contracts.registry import encode
from keyledger.domain.events import KeyCreated, Secret

STORE = "0123456789abcdef0123456789abcdef"
ORGANIZATION = "org_0000000000000000000001"
KEY = "key_0000000000000000000002"
CREATED = KeyCreated(
    organization_id=ORGANIZATION,
    key_id=KEY,
    type="personal",
    owner_type="user",
    owner_id="user_0000000000000000000003",
    name="ça va",
    description="",
    role=None,
    environment="dev",
    expires_at=None,
    secret=Secret(id="0" * 16, digest=bytes(32), pepper="1" * 12),
)
COMMON = (
    ("ce_specversion", b"1.0"),
    ("ce_type", b"keyledger.KeyCreated"),
    ("ce_id", b"1"),
    ("ce_source", b"/keyledger/ledgers/0123456789abcdef0123456789abcdef"),
    ("ce_time", b"2025-10-09T08:53:20.000007Z"),
    ("ce_subject", KEY.encode()),
)


def row(*, actor_key: str | None = None, traceparent: str | None = None) -> Entry:
    event = encode(CREATED)
    header = Header(
        position=1,
        organization_id=ORGANIZATION,
        stream=KEY,
        version=4,
        type=event.type,
        schema_version=event.schema_version,
        may_ignore=event.may_ignore,
        recorded_at=1_760_000_000_000_007,
        actor_user="user_0000000000000000000003",
        actor_key=actor_key,
        request_id="req-1",
        append_id="f" * 32,
        traceparent=traceparent,
    )
    return seal(header, event.data, FIRST_PREV_HASH)


def test_the_private_record_carries_the_hashed_text_and_both_hashes() -> None:
    entry = row()
    headers, value = private_record(entry, STORE)
    assert headers == (
        *COMMON,
        ("ce_ledgerheader", encode_header(entry.header)),
        ("ce_prevhash", b"0" * 64),
        ("ce_hash", entry.hash.hex().encode()),
        ("content-type", b"application/json"),
    )
    assert read_private(headers, value) == (COMMON[3][1].decode(), entry)


def test_the_published_record_names_who_asked_for_it_and_leaves_out_what_is_not_known() -> None:
    headers, value = published_record(row(), STORE)
    assert headers == (
        *COMMON,
        ("ce_position", b"1"),
        ("ce_organizationid", ORGANIZATION.encode()),
        ("ce_streamversion", b"4"),
        ("ce_schemaversion", b"1"),
        ("ce_actoruser", b"user_0000000000000000000003"),
        ("ce_requestid", b"req-1"),
        ("content-type", b"application/json"),
    )
    assert b'"name":"\xc3\xa7a va"' in value
    assert b"digest" not in value


def test_the_published_record_has_its_extensions_in_one_order() -> None:
    headers, _ = published_record(row(actor_key="key_x", traceparent="00-a-b-01"), STORE)
    assert [name for name, _ in headers[10:]] == [
        "ce_actoruser",
        "ce_actorkey",
        "ce_requestid",
        "ce_traceparent",
        "content-type",
    ]


def test_times_have_microseconds_also_where_there_are_none() -> None:
    assert rfc3339(0) == "1970-01-01T00:00:00.000000Z"
    assert rfc3339(1_760_000_000_000_000) == "2025-10-09T08:53:20.000000Z"
    assert rfc3339(-1) == "1969-12-31T23:59:59.999999Z"


def test_an_extension_that_is_none_is_left_out() -> None:
    headers = attributes(type="AlertRaised", id="1", source="/s", time=0, subject="key_x", organizationid=None)
    assert [name for name, _ in headers[5:]] == ["ce_subject", "content-type"]
