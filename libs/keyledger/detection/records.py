"""One record of attempts folded as a whole: the same fold in the Faust shell and in the embedded loop.

What is remembered between records is a table of small entries, keyed by text, valued by bytes. A shell keeps the table
and knows nothing of its contents. Two kinds of keys, both under their partition:

- ``<partition>/sender/<node>.<boot>``: the last record number seen from a verifier node's boot;
- ``<partition>/burst/<scope>``: the state of one scope, and the offset of the record it was last folded from.

So a record writes one entry for its sender and one for each scope that failed in it: an attempt that succeeded costs
no write.
"""

from collections.abc import Callable, Mapping
from typing import Final, assert_never

import msgspec
from msgspec import Struct

from keyledger.contracts.alert import Alert
from keyledger.contracts.auth_event import RECORD_TYPE, AuthAttempt, decode_attempts
from keyledger.contracts.cloudevents import TYPE_PREFIX, MalformedRecord
from keyledger.detection.failed_burst import INITIAL, Burst, counts, observe, scope_of
from keyledger.eventlog.port import Record

BURST_KEPT_MS: Final = 60 * 60 * 1000
"""A scope without failures for this long begins anew. Six windows: an attempt may reach the log 50 minutes late."""

SENDER_KEPT_MS: Final = 31 * 24 * 60 * 60 * 1000
"""Longer than the topic keeps a record, so that a resend that can still be read is still known as one."""

SWEEP_EVERY_MS: Final = 10 * 60 * 1000
"""How often, in the log's time, a shell need look for what ``is_forgettable``: a look reads every entry."""


class Sender(Struct, frozen=True, array_like=True, tag="sender"):
    """The last ``number`` of a node's boot, the ``offset`` it came with, how many were ``lost`` before it, and when."""

    number: int
    offset: int
    lost: int
    heard_ms: int


class ScopeState(Struct, frozen=True, array_like=True, tag="burst"):
    """A scope's state, the offset of the last record folded into it, and when the log took that record."""

    burst: Burst
    offset: int
    heard_ms: int


class AttemptsRecord(Struct, frozen=True):
    """A record as the fold needs it. ``sender`` is ``node.boot``; ``number`` counts its records in this partition."""

    partition: int
    offset: int
    timestamp: int
    sender: str
    number: int
    attempts: list[AuthAttempt]


class Observed(Struct, frozen=True):
    """What one record changes: alerts to publish first, then ``entries`` to write in this order, the sender's last.

    The sender's entry says that the record is done with, so whoever writes it before the others would, after a crash
    between them, skip what it has not folded.
    """

    entries: dict[str, bytes]
    alerts: tuple[Alert, ...]
    lost: int
    resent: bool


Entry = Sender | ScopeState

_encode: Final = msgspec.json.Encoder().encode
_decode: Final[Callable[[bytes], Entry]] = msgspec.json.Decoder(Entry).decode


def read_attempts(record: Record) -> AttemptsRecord:
    """Return the attempts a record carries.

    Raises:
        MalformedRecord: it is no ``keyledger.AuthAttempts`` event of this partition, or its data cannot be decoded.
    """
    where = f"{record.topic}/{record.partition} offset {record.offset}"
    named = dict(record.headers)
    try:
        event_type, event_id = named["ce_type"].decode(), named["ce_id"].decode()
        sender, partition, number = event_id.rsplit(".", 2)
        if event_type != TYPE_PREFIX + RECORD_TYPE or int(partition) != record.partition:
            raise MalformedRecord(f"{where}: {event_type} {event_id} does not belong here")
        attempts = decode_attempts(record.value or b"")
        return AttemptsRecord(record.partition, record.offset, record.timestamp, sender, int(number), attempts)
    except (KeyError, ValueError, msgspec.DecodeError) as error:
        raise MalformedRecord(f"{where}: no record of attempts: {error}") from error


def observe_record(record: AttemptsRecord, entries: Mapping[str, bytes]) -> Observed:
    """Fold a whole record over what is remembered; a record that was seen before changes nothing.

    A number at or below the sender's last is a resend: skipped. A gap before it is loss: counted. A record at or below
    the sender's last offset is a replay by the shell, not a resend. A scope that has already folded this offset (the
    crash came between two writes of one record) is left as it is.
    """
    sender_key = f"{record.partition}/sender/{record.sender}"
    last = _sender(entries.get(sender_key))
    if record.number <= last.number:
        return Observed({}, (), 0, resent=record.offset > last.offset)
    lost = record.number - last.number - 1
    touched: dict[str, ScopeState] = {}
    alerts: list[Alert] = []
    for attempt in record.attempts:
        if not counts(attempt):
            continue
        key = f"{record.partition}/burst/{scope_of(attempt)}"
        state = touched.get(key)
        if state is None:
            state = _scope(entries.get(key), record.timestamp)
            if state.offset >= record.offset:
                continue
        burst, said = observe(state.burst, attempt)
        alerts.extend(said)
        touched[key] = ScopeState(burst, state.offset, record.timestamp)
    changed = {key: _encode(ScopeState(s.burst, record.offset, s.heard_ms)) for key, s in touched.items()}
    changed[sender_key] = _encode(Sender(record.number, record.offset, last.lost + lost, record.timestamp))
    return Observed(changed, tuple(alerts), lost, resent=False)


def is_forgettable(entry: bytes, now_ms: int) -> bool:
    """Say whether deleting this entry changes no later answer, at ``now_ms`` of the log's own record times.

    The log's times and not the attempts': one node with a wrong clock must not make the others' bursts forgotten.
    """
    remembered = _decode(entry)
    match remembered:
        case Sender():
            return remembered.heard_ms + SENDER_KEPT_MS <= now_ms
        case ScopeState():
            return remembered.heard_ms + BURST_KEPT_MS <= now_ms
        case _:
            assert_never(remembered)


def _sender(entry: bytes | None) -> Sender:
    last = None if entry is None else _decode(entry)
    return last if isinstance(last, Sender) else Sender(0, -1, 0, 0)


def _scope(entry: bytes | None, now_ms: int) -> ScopeState:
    state = None if entry is None else _decode(entry)
    if isinstance(state, ScopeState) and state.heard_ms + BURST_KEPT_MS > now_ms:
        return state
    return ScopeState(INITIAL, -1, now_ms)
