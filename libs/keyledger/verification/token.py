"""The string that a key's holder sends: ``kl_dev_<22 digits of the id>_<27 digits of secret><6 digits of CRC-32>``.

The check sum lets garbage be refused without a look-up, and scanners find leaked keys with one regular expression.
"""

import re
from typing import Final, cast
from zlib import crc32

from msgspec import Struct

from keyledger.domain.events import Environment
from keyledger.domain.identifiers import PAIRS, encode_base62

BRAND: Final = "kl"
SECRET_BYTES: Final = 20
_SECRET_DIGITS: Final = 27
_CRC_DIGITS: Final = 6
_FORM: Final = re.compile(
    r"([a-z][a-z0-9]{0,15})_(dev|staging|prod)_([0-9A-Za-z]{22})_([0-9A-Za-z]{27})([0-9A-Za-z]{6})"
)
_INSIDE: Final = re.compile(rf"{BRAND}_(?:dev|staging|prod)_[0-9A-Za-z]{{22}}_[0-9A-Za-z]{{33}}")


class Token(Struct, frozen=True, gc=False):
    """A well-formed token. It names a key; whether the secret is right only the verification index knows."""

    environment: Environment
    key_id: str
    secret: bytes

    def __repr__(self) -> str:
        """Show which key is meant and never the secret."""
        return f"Token({self.environment!r}, {self.key_id!r})"


def mint(environment: Environment, key_id: str, secret: bytes, *, brand: str = BRAND) -> str:
    """Return the token of a key (``key_<22 digits>``) and 160 random bits."""
    if len(secret) != SECRET_BYTES:
        raise ValueError(f"a secret has {SECRET_BYTES} bytes, not {len(secret)}")
    digits = encode_base62(int.from_bytes(secret), _SECRET_DIGITS)
    body = f"{brand}_{environment}_{key_id.removeprefix('key_')}_{digits}"
    return body + _check_digits(body)


def secret_of(token: str) -> bytes:
    """Return what is digested of a minted token: the ASCII bytes of its 27 secret digits."""
    return token[-_SECRET_DIGITS - _CRC_DIGITS : -_CRC_DIGITS].encode()


def parse(text: str, *, brand: str = BRAND) -> Token | None:
    """Return what the text says, or None where it is no token: another form, another brand, a wrong check sum."""
    match = _FORM.fullmatch(text)
    if match is None:
        return None
    brand_, environment, digits, secret, check = match.groups()
    if brand_ != brand or _check_digits(text[:-_CRC_DIGITS]) != check:
        return None
    return Token(cast("Environment", environment), f"key_{digits}", secret.encode())


def stands_in(text: str) -> bool:
    """Say whether a token stands anywhere in the text: its holder has put it where it does not belong."""
    return any(parse(found) is not None for found in _INSIDE.findall(text))


def _check_digits(body: str) -> str:
    # ``encode_base62(crc32, 6)``, two digits at a time: it is a fifth of what a whole check costs.
    high, low = divmod(crc32(body.encode()), 62 * 62)
    high, middle = divmod(high, 62 * 62)
    return PAIRS[high] + PAIRS[middle] + PAIRS[low]
