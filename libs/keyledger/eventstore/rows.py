"""A row of ``events`` as the databases give and take it."""

from typing import Any, Final, Protocol

from keyledger.contracts.envelope import Entry, Header

HEADER_FIELDS: Final = Header.__struct_fields__
COLUMNS: Final = (*HEADER_FIELDS, "data", "prev_hash", "hash")
SELECT: Final = f"SELECT {', '.join(COLUMNS)} FROM events"  # noqa: S608 - names from our own code, no input

_WIDTH: Final = len(HEADER_FIELDS)


def behind(prefix: str) -> str:
    """Return the first text behind all that begin with ``prefix``, in the order of bytes; it ends in ASCII."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


class Row(Protocol):
    """What a driver returns for one row of ``SELECT``."""

    def __getitem__(self, place: Any, /) -> Any: ...


def to_entry(row: Row) -> Entry:
    """Return the entry that a row of ``SELECT`` spells."""
    return Entry(Header(*row[:_WIDTH]), row[_WIDTH], row[_WIDTH + 1], row[_WIDTH + 2])


def to_row(entry: Entry) -> tuple[Any, ...]:
    """Return the values of ``COLUMNS``."""
    header = entry.header
    return (
        header.position,
        header.organization_id,
        header.stream,
        header.version,
        header.type,
        header.schema_version,
        header.may_ignore,
        header.recorded_at,
        header.actor_user,
        header.actor_key,
        header.request_id,
        header.append_id,
        header.traceparent,
        entry.data,
        entry.prev_hash,
        entry.hash,
    )
