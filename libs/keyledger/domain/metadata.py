"""What users attach to a key: a small JSON object, of which we understand nothing."""

from typing import Any, Final

import msgspec

MAX_BYTES: Final = 4096
MAX_NAMES: Final = 64

Metadata = dict[str, Any]

_encode: Final = msgspec.json.Encoder(order="sorted").encode


def merged(metadata: Metadata, patch: Metadata) -> Metadata:
    """Return the object after a JSON Merge Patch (RFC 7396): null removes, an object is merged, all else replaces."""
    result = dict(metadata)
    for name, new in patch.items():
        old = result.pop(name, None)
        if isinstance(new, dict):
            result[name] = merged(old if isinstance(old, dict) else {}, new)
        elif new is not None:
            result[name] = new
    return result


def is_same(one: Metadata, other: Metadata) -> bool:
    """Say whether both are the same JSON. For Python 1, 1.0 and true are equal."""
    return _encode(one) == _encode(other)


def excess_of(metadata: Metadata) -> str | None:
    """Say what is too much of it; None where nothing is."""
    if len(_encode(metadata)) > MAX_BYTES:
        return f"as JSON it may have {MAX_BYTES} bytes"
    return f"it may have {MAX_NAMES} names, at all depths together" if _names_in(metadata) > MAX_NAMES else None


def _names_in(value: object) -> int:
    match value:
        case dict():
            return len(value) + sum(map(_names_in, value.values()))
        case list():
            return sum(map(_names_in, value))
        case _:
            return 0
