import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keyledger.verification.peppers import KeyedDigest, Peppers, digest
from keyledger.verification.token import mint, parse, secret_of

MASTERS = (b"a" * 32, b"b" * 32)


@given(st.binary(max_size=200), st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_a_keyed_digest_is_the_hmac_however_often_it_is_asked(pepper: bytes, secrets: list[bytes]) -> None:
    keyed = KeyedDigest(pepper)
    for secret in secrets:
        assert keyed.of(secret) == hmac.digest(pepper, secret, "sha256") == digest(pepper, secret)


def test_the_first_master_is_for_new_secrets_and_the_others_stay_known() -> None:
    both, alone = Peppers(MASTERS), Peppers(MASTERS[1:])
    pepper_id, made = alone.digest("org_1", b"secret")
    pepper = both.pepper(pepper_id, "org_1")
    assert pepper is not None
    assert digest(pepper, b"secret") == made
    assert both.current_id != pepper_id
    assert alone.pepper(both.current_id, "org_1") is None


def test_each_organization_has_a_pepper_of_its_own_and_nothing_shows_a_master() -> None:
    peppers = Peppers(MASTERS)
    assert peppers.pepper(peppers.current_id, "org_1") != peppers.pepper(peppers.current_id, "org_2")
    assert "aaaa" not in repr(peppers)
    assert MASTERS[0].hex() not in repr(peppers)


def test_a_short_master_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        Peppers([b"short"])


@given(st.binary(min_size=20, max_size=20), st.integers(0, 61))
def test_a_token_is_read_back_and_one_wrong_digit_is_noticed(secret: bytes, digit: int) -> None:
    token = mint("prod", "key_" + "7" * 22, secret)
    read = parse(token)
    assert read is not None
    assert (read.environment, read.key_id, read.secret) == ("prod", "key_" + "7" * 22, secret_of(token))
    assert secret_of(token).decode() not in repr(read)
    place = 8 + digit % 50
    if token[place] not in "_x":
        assert parse(token[:place] + "x" + token[place + 1 :]) is None
    assert parse(token, brand="other") is None
