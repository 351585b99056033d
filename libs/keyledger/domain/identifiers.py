"""Names of things: a kind and a UUID in base62, such as ``key_0pVzX3...`` (22 digits)."""

import re
from typing import Final, Literal

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
PAIRS: Final = tuple(one + other for one in ALPHABET for other in ALPHABET)
"""What 0 to 62**2 - 1 are in two digits."""
UUID_DIGITS: Final = 22
"""62**22 > 2**128: every UUID fits, padded with zeros on the left."""

ROLE_ID: Final = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
"""A role's id is its slug, unique in its organization only."""

_VALUE: Final = {digit: value for value, digit in enumerate(ALPHABET)}

Kind = Literal["org", "user", "team", "service", "key"]


def encode_base62(number: int, width: int) -> str:
    """Return ``number`` (>= 0) as exactly ``width`` base62 digits; ValueError if it does not fit."""
    pairs = []
    for _ in range((width + 1) // 2):  # two digits at a time take half as long
        number, rest = divmod(number, 62 * 62)
        pairs.append(PAIRS[rest])
    text = "".join(reversed(pairs))
    if number or (width % 2 and text[0] != "0"):
        raise ValueError(f"number does not fit into {width} base62 digits")
    return text[-width:] if width % 2 else text


def decode_base62(text: str) -> int:
    """Return the number that base62 ``text`` spells; ValueError on a foreign character."""
    number = 0
    for digit in text:
        value = _VALUE.get(digit)
        if value is None:
            raise ValueError("not base62")
        number = number * 62 + value
    return number


def resource_id(kind: Kind, uuid: int) -> str:
    """Return the id of a thing of this kind, from the 128 bits of its UUID."""
    return f"{kind}_{encode_base62(uuid, UUID_DIGITS)}"


def is_resource_id(text: str, kind: Kind) -> bool:
    """Say whether ``text`` has the form of an id of this kind. It may still name nothing."""
    prefix, _, digits = text.partition("_")
    return prefix == kind and len(digits) == UUID_DIGITS and all(digit in _VALUE for digit in digits)


def role_streams(organization_id: str) -> str:
    """Return what the names of the streams of an organization's roles begin with."""
    return f"{organization_id}/role/"


def role_stream(organization_id: str, role: str) -> str:
    """Return the name of the stream of a role."""
    return role_streams(organization_id) + role
