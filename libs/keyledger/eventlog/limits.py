"""What no log takes. Checked before anything is sent, so that a record refused for ever is not retried for ever."""

from collections.abc import Sequence
from typing import Final

from keyledger.eventlog.port import NewRecord

MAX_RECORD_BYTES: Final = 1_000_000
"""Key, value and headers together: a Kafka broker takes 1,048,588 bytes a batch by default (``message.max.bytes``)."""

_HEADER_OVERHEAD_BYTES: Final = 10


def check_records(records: Sequence[NewRecord]) -> None:
    """Refuse what could not be kept byte for byte, or would take its batch-mates down with it.

    Raises:
        ValueError: no record, one above ``MAX_RECORD_BYTES``, or a header's name that is no valid Unicode.
        TypeError: a key, value or header that is not ``bytes``.
    """
    if not records:
        raise ValueError("a batch has at least one record: an empty one has no offset to answer with")
    for number, record in enumerate(records):
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
