"""The test vectors of the hash chain: whoever checks a ledger in another language starts from these."""

import json
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyledger.contracts.envelope import (
    FIRST_PREV_HASH,
    Header,
    chain_hash,
    decode_header,
    encode_header,
    seal,
)

FIRST = Header(
    position=1,
    organization_id="org_0000000000000000000001",
    stream="key_0000000000000000000002",
    version=1,
    type="KeyCreated",
    schema_version=1,
    may_ignore=False,
    recorded_at=1_760_000_000_000_000,
    actor_user="user_0000000000000000000003",
    actor_key=None,
    request_id="req-1",
    append_id="0123456789abcdef0123456789abcdef",
    traceparent=None,
)
FIRST_TEXT = (
    b'[1,"org_0000000000000000000001","key_0000000000000000000002",1,"KeyCreated",1,false,1760000000000000,'
    b'"user_0000000000000000000003",null,"req-1","0123456789abcdef0123456789abcdef",null]'
)
FIRST_DATA = b'{"key_id":"key_0000000000000000000002"}'
FIRST_HASH = "037c11f5d820330c47b3ea7ffa8e13cb308d90b72e82779e699230e470d59458"

SECOND = Header(
    position=2,
    organization_id="org_0000000000000000000001",
    stream='org_0000000000000000000001/role/"\\/zażółć 🔑\u2028',
    version=2**63 - 1,
    type="KeyRevoked",
    schema_version=2,
    may_ignore=True,
    recorded_at=1_760_000_000_000_001,
    actor_user=None,
    actor_key="key_0000000000000000000002",
    request_id="req-2",
    append_id="fedcba9876543210fedcba9876543210",
    traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
)
SECOND_TEXT = (
    '[2,"org_0000000000000000000001","org_0000000000000000000001/role/\\"\\\\/zażółć 🔑\u2028",9223372036854775807,'
    '"KeyRevoked",2,true,1760000000000001,null,"key_0000000000000000000002","req-2","fedcba9876543210fedcba9876543210",'
    '"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]'
).encode()
SECOND_DATA = bytes(range(256))
SECOND_HASH = "f5bfac2b07d8a69bdcd19d2cbe01b89f03e3e8fce3ea51b6fac289f5a5eb0d10"


@pytest.mark.parametrize(("header", "text"), [(FIRST, FIRST_TEXT), (SECOND, SECOND_TEXT)])
def test_a_header_has_one_text(header: Header, text: bytes) -> None:
    assert encode_header(header) == text
    assert decode_header(text) == header


def test_the_chain_has_these_hashes() -> None:
    first = seal(FIRST, FIRST_DATA, FIRST_PREV_HASH)
    second = seal(SECOND, SECOND_DATA, first.hash)
    assert first.hash.hex() == FIRST_HASH
    assert second.hash.hex() == SECOND_HASH
    assert (first.prev_hash, second.prev_hash) == (bytes(32), first.hash)


def test_a_hash_is_that_of_three_hashes_one_after_the_other() -> None:
    header, data = sha256(FIRST_TEXT).digest(), sha256(FIRST_DATA).digest()
    assert chain_hash(bytes(32), FIRST_TEXT, FIRST_DATA).hex() == sha256(bytes(32) + header + data).hexdigest()


def test_a_byte_moved_from_the_header_to_the_data_changes_the_hash() -> None:
    assert chain_hash(bytes(32), b"ab", b"c") != chain_hash(bytes(32), b"a", b"bc")


printable = st.text(st.characters(exclude_categories=("Cc", "Cs")))


@given(printable)
def test_any_text_without_control_characters_is_written_as_rfc_8785_does(text: str) -> None:
    """For such text Python's own JSON is the oracle: only quote and backslash are escaped."""
    header = Header(1, text, text, 1, text, 1, False, 1, text, None, text, text, None)
    written = encode_header(header)
    fields = [1, text, text, 1, text, 1, False, 1, text, None, text, text, None]
    assert written == json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
    assert decode_header(written) == header
