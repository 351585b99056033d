"""Times as whole microseconds since 1970-01-01T00:00:00Z and back, exactly: a float would round."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def moment(microseconds: int) -> datetime:
    """Return microseconds since 1970 as a time in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def microseconds(at: datetime | None) -> int | None:
    """Return an aware time as microseconds since 1970; None stays None."""
    return None if at is None else (at - _EPOCH) // _MICROSECOND
