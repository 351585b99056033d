"""Records as the embedded log's file keeps them: those that were sent together share rows (decision 0013).

Packed and unpacked by the event loop's thread, not by the file's: a record's dozens of small objects would otherwise
travel from one processor's cache to the other's, which costs more than the packing itself.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
from msgspec import Struct

from keyledger.eventlog.limits import check_records, made_of_bytes
from keyledger.eventlog.port import NewRecord, Record

ROW_RECORDS: Final = 50
"""The most records of a row. A reader unpacks whole rows: of larger ones it would have to throw more away."""
ROW_BYTES: Final = 128 * 1024
"""The most bytes of a row that holds more than one record."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(list[NewRecord]).decode


class Packed(Struct, frozen=True, gc=False):
    """So many records, in one piece."""

    count: int
    records: bytes


class Row(Struct, frozen=True, gc=False):
    """Records of one partition from an offset on; ``timestamp`` in milliseconds."""

    first_offset: int
    timestamp: int
    records: bytes


def pack(records: Sequence[NewRecord]) -> list[Packed]:
    """Return the rows for these records.

    Raises:
        ValueError, TypeError: as ``check_records``.
    """
    rows: list[Packed] = []
    for first in range(0, len(records) or 1, ROW_RECORDS):
        some = records[first : first + ROW_RECORDS]
        packed = _encode(some)  # refuses a header's name that is no valid Unicode
        if len(packed) <= ROW_BYTES and made_of_bytes(some):
            rows.append(Packed(len(some), packed))
        else:
            check_records(some, first)  # also none at all
            rows += _within_bound(some)
    return rows


def unpack(topic: str, partition: int, rows: Iterable[Row], offset: int, max_records: int) -> list[Record]:
    """Return up to so many of the records, from the offset on."""
    found: list[Record] = []
    for row in rows:
        skipped = max(0, offset - row.first_offset)
        wanted = _decode(row.records)[skipped : skipped + max_records - len(found)]
        found += [
            Record(topic, partition, number, row.timestamp, new.key, new.value, new.headers)
            for number, new in enumerate(wanted, row.first_offset + skipped)
        ]
    return found


def _within_bound(records: Sequence[NewRecord]) -> Iterator[Packed]:
    packed = _encode(records)
    if len(packed) <= ROW_BYTES or len(records) == 1:
        yield Packed(len(records), packed)
    else:
        middle = len(records) // 2
        yield from _within_bound(records[:middle])
        yield from _within_bound(records[middle:])
