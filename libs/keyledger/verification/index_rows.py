"""What stands in the index: a line for each stream, and under names that no stream has the checkpoint and the marks."""

from collections.abc import Collection, Iterator, Mapping
from itertools import takewhile
from typing import Final

import lmdb
import msgspec

from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.port import Checkpoint, Parked, Versioned
from keyledger.verification.records import ParkedRecord, Record, Stored, StoredRecord, decode_stored, encode_stored

_PARKED: Final = b"\x00parked/"
_FIRST_STREAM: Final = b"\x01"
"""All else begins with a zero byte, which no stream's name contains."""

_encode: Final = msgspec.msgpack.Encoder().encode
_decode_checkpoint: Final = msgspec.msgpack.Decoder(Checkpoint).decode
_decode_parked: Final = msgspec.msgpack.Decoder(Parked).decode


def checkpoint_in(transaction: lmdb.Transaction, key: bytes) -> Checkpoint:
    """Return the checkpoint that stands under ``key``; ``Checkpoint()`` at first."""
    found = transaction.get(key)
    return Checkpoint() if found is None else _decode_checkpoint(found)


def parked_in(transaction: lmdb.Transaction) -> dict[str, Parked]:
    """Return the streams that are parked."""
    with transaction.cursor() as cursor:
        cursor.set_range(_PARKED)
        marks = takewhile(lambda pair: bytes(pair[0]).startswith(_PARKED), cursor)
        return {mark.stream: mark for mark in (_decode_parked(value) for _, value in marks)}


def lines_in(transaction: lmdb.Transaction) -> Iterator[tuple[str, bytes]]:
    """Return the streams with their lines, in the order of the streams' bytes."""
    with transaction.cursor() as cursor:
        cursor.set_range(_FIRST_STREAM)
        for stream, line in cursor:
            yield bytes(stream).decode(), bytes(line)


class IndexRows:
    """One open write transaction."""

    def __init__(self, transaction: lmdb.Transaction, checkpoint_key: bytes) -> None:
        self._transaction, self._checkpoint_key = transaction, checkpoint_key

    async def load(self, streams: Collection[str]) -> dict[str, Versioned[Record]]:
        found = ((stream, self._transaction.get(stream.encode())) for stream in streams)
        stored = ((stream, decode_stored(line)) for stream, line in found if line is not None)
        return {stream: Versioned(line.version, folded(line.row)) for stream, line in stored}

    async def save(self, changed: Mapping[str, Versioned[Record]]) -> None:
        # In the order of keys, LMDB touches each page once.
        for stream in sorted(changed):
            line = changed[stream]
            self._transaction.put(stream.encode(), encode_stored(Stored(line.version, line.row)))

    async def park(self, parked: Collection[Parked]) -> None:
        for mark in parked:
            line = self._transaction.get(mark.stream.encode())
            last = Stored(0, None) if line is None else decode_stored(line)
            denied = Stored(last.version, ParkedRecord(folded(last.row)))
            self._transaction.put(mark.stream.encode(), encode_stored(denied))
            self._transaction.put(_PARKED + mark.stream.encode(), _encode(mark))

    async def release(self, streams: Collection[str]) -> None:
        for stream in streams:
            line = self._transaction.get(stream.encode())
            if line is not None and self._transaction.delete(_PARKED + stream.encode()):
                last = decode_stored(line)
                if last.version == 0:
                    self._transaction.delete(stream.encode())
                else:
                    self._transaction.put(stream.encode(), encode_stored(Stored(last.version, folded(last.row))))

    async def move_checkpoint(self, *, expected: Checkpoint, new: Checkpoint) -> None:
        actual = checkpoint_in(self._transaction, self._checkpoint_key)
        if actual != expected:
            raise CheckpointMoved(f"the index is at position {actual.position}, not {expected.position}")
        self._transaction.put(self._checkpoint_key, _encode(new))


def folded(row: StoredRecord | None) -> Record | None:
    """Return the record that a fold goes on from."""
    return row.last if isinstance(row, ParkedRecord) else row
