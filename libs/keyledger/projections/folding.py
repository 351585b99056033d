"""The fold of a batch: which rows change, and which streams are parked."""

from collections.abc import Mapping, Sequence
from pathlib import PurePath
from traceback import walk_tb
from typing import Generic

from msgspec import Struct
from msgspec.structs import replace

from keyledger.contracts.envelope import Entry, Fact, Header
from keyledger.contracts.registry import UndecodableEvent, decode
from keyledger.projections.port import Parked, Projection, Row, Versioned


class Step(Struct, frozen=True, gc=False):
    """One row that comes next: where it stands, and what it says (None: nothing to this projection).

    ``undecodable`` says why it cannot be told what it says.
    """

    header: Header
    hash: bytes
    next_offset: int
    wanted: bool
    fact: Fact | None
    undecodable: str | None = None


class Folded(Struct, Generic[Row], frozen=True):
    """What a batch comes to: rows to save, and marks to keep of streams that are parked."""

    changed: dict[str, Versioned[Row]]
    parked: dict[str, Parked]


def step_of(entry: Entry, next_offset: int, *, wanted: bool) -> Step:
    """Return the step that a row of the ledger is to a projection that wants its stream, or does not."""
    if not wanted:
        return Step(entry.header, entry.hash, next_offset, wanted=False, fact=None)
    try:
        fact = decode(entry)
    except UndecodableEvent as error:
        why = f"it cannot be decoded: {error.why}"
        return Step(entry.header, entry.hash, next_offset, wanted=True, fact=None, undecodable=why)
    return Step(entry.header, entry.hash, next_offset, wanted=True, fact=fact)


def fold(
    projection: Projection[Row],
    loaded: Mapping[str, Versioned[Row]],
    steps: Sequence[Step],
    *,
    parked: Mapping[str, Parked],
) -> Folded[Row]:
    """Fold each event that is the next of its stream; an older one is in, and one of a parked stream waits."""
    changed: dict[str, Versioned[Row]] = {}
    marks: dict[str, Parked] = {}
    for step in steps:
        if not step.wanted:
            continue
        stream, version = step.header.stream, step.header.version
        if marks or parked:
            mark = marks.get(stream) or parked.get(stream)
            if mark is not None:
                marks[stream] = replace(mark, waiting=mark.waiting + 1)
                continue
        current = changed.get(stream) or loaded.get(stream) or Versioned(0, None)
        if version <= current.version:
            continue
        if step.undecodable is not None:
            marks[stream] = _mark(step, step.undecodable)
        elif version != current.version + 1:
            marks[stream] = _mark(step, f"it is version {version}, but its row reflects {current.version}")
        elif step.fact is None:
            changed[stream] = Versioned(version, current.row)
        else:
            try:
                changed[stream] = Versioned(version, projection.project(current.row, step.fact))
            except Exception as error:  # noqa: BLE001 - whatever a fold raises, its stream alone waits
                marks[stream] = _mark(step, f"it cannot be folded: {_place_of(error)}")
    return Folded(changed, marks)


def _mark(step: Step, reason: str) -> Parked:
    header = step.header
    return Parked(
        stream=header.stream,
        position=header.position,
        version=header.version,
        type=header.type,
        recorded_at=header.recorded_at,
        offset=step.next_offset - 1,
        reason=reason,
    )


def _place_of(error: Exception) -> str:
    """Return the kind of an error and where it was raised: its text may repeat what the event holds."""
    *_, (frame, line) = walk_tb(error.__traceback__)
    return f"{type(error).__name__} at {PurePath(frame.f_code.co_filename).name}:{line}"
