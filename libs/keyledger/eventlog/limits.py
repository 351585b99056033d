"""What no log takes. Checked before anything is sent, so that a record refused for ever is not retried for ever."""

from collections.abc import Sequence
from typing import Final

from keyledger.eventlog.port import NewRecord

MAX_RECORD_BYTES: Final = 1_000_000
"""Key, value and headers together: a Kafka broker takes 1,048,588 bytes a batch by default (``message.max.bytes``)."""

_HEADER_OVERHEAD_BYTES: Final = 10
_AT_ONCE: Final = 64


def check_records(records: Sequence[NewRecord], number: int = 0) -> None:
    """Refuse what could not be kept byte for byte, or would take its batch-mates down with it.

    Args:
        records: a batch, or a part of it.
        number: of the first one, by which a refused one is named.

    Raises:
        ValueError: no record, one above ``MAX_RECORD_BYTES``, or a header's name that is no valid Unicode.
        TypeError: a key, value or header that is not ``bytes``.
    """
    if not records:
        raise ValueError("a batch has at least one record: an empty one has no offset to answer with")
    for first in range(0, len(records), _AT_ONCE):
        some = records[first : first + _AT_ONCE]
        if not _surely_fit(some):
            _must_fit(some, number + first)


def _surely_fit(records: Sequence[NewRecord]) -> bool:
    """Say whether all of them together are no more than one may be: nearly always, and at two thirds of the work."""
    # One loop over the headers: comprehensions, each over all of them again, take a fifth more.
    names: list[str] = []
    parts: list[bytes] = []
    for record in records:
        for name, value in record.headers:
            names.append(name)
            parts.append(value)
        parts += (b"" if record.key is None else record.key, record.value)
    size = len("".join(names).encode()) + len(names) * _HEADER_OVERHEAD_BYTES
    if set(map(type, parts)) != {bytes}:
        return False
    return size + len(b"".join(parts)) <= MAX_RECORD_BYTES


def made_of_bytes(records: Sequence[NewRecord]) -> bool:
    """Say whether all keys, values and headers are ``bytes``, of at least one record."""
    parts = [value for record in records for _, value in record.headers]
    parts += [record.value for record in records]
    parts += [record.key for record in records if record.key is not None]
    return set(map(type, parts)) == {bytes}


def _must_fit(records: Sequence[NewRecord], first: int) -> None:
    for number, record in enumerate(records, first):
        size = _size(record)
        if size > MAX_RECORD_BYTES:
            raise ValueError(f"record {number} has {size} bytes, a log takes {MAX_RECORD_BYTES} at most")


def _size(record: NewRecord) -> int:
    size = _length(record.value) + (0 if record.key is None else _length(record.key))
    for name, value in record.headers:
        size += len(name.encode()) + _length(value) + _HEADER_OVERHEAD_BYTES
    return size


def _length(part: bytes) -> int:
    if type(part) is not bytes:
        raise TypeError(f"a record is made of bytes, not of {type(part).__name__}")
    return len(part)
