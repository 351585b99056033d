"""Which event types there are, how each is written, and what of it is published.

The published form is the contract that other teams build on. It is derived from the private one: a secret is published
by its id alone, so that no digest can reach the topic by a forgotten field.
"""

from functools import cache
from typing import Any, Final, NoReturn

import msgspec
from msgspec import Struct

from keyledger.contracts.envelope import Entry, Fact
from keyledger.domain import events
from keyledger.domain.events import Event


class EncodedEvent(Struct, frozen=True):
    """An event as it is kept: its type, the version of its form, whether a reader may skip it unread, its bytes."""

    type: str
    schema_version: int
    may_ignore: bool
    data: bytes


class PublishedSecret(Struct, frozen=True, kw_only=True):
    """A secret as others may know it: by its id."""

    id: str
    activates: events.Activation = "now"


class EventType(Struct, frozen=True):
    """One registered type in its current form. ``withheld``: others learn of the position and nothing else."""

    struct: type[Struct]
    schema_version: int = 1
    may_ignore: bool = False
    withheld: bool = False


class UndecodableEvent(Exception):
    """A row whose event cannot be understood here, although its envelope could be read."""

    def __init__(self, entry: Entry, why: str) -> None:
        header = entry.header
        super().__init__(
            f"position {header.position} ({header.type} in form {header.schema_version} of {header.stream}): {why}"
        )
        self.header = header


EVENT_TYPES: Final[dict[str, EventType]] = {
    struct.__name__: EventType(struct)
    for struct in (
        events.OrganizationCreated,
        events.RoleDefined,
        events.UserCreated,
        events.TeamCreated,
        events.ServiceAccountCreated,
        events.KeyCreated,
        events.KeyRotated,
        events.KeyUpdated,
        events.KeyRevoked,
    )
}

WITHHELD_TYPE: Final = "Withheld"
"""The published stand-in for a private event: ``{}``. Never a null value, which is Kafka's tombstone."""

_encode: Final = msgspec.json.Encoder().encode
_UNKNOWN: Final = "not known to this version of Keyledger"


def encode(event: Event) -> EncodedEvent:
    """Return the event as it is kept."""
    name = type(event).__name__
    registered = EVENT_TYPES[name]
    return EncodedEvent(name, registered.schema_version, registered.may_ignore, _encode(event))


@cache
def _decoder(struct: type[Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(struct)


def decode(entry: Entry) -> Fact | None:
    """Return what the row says; None where it is of an unknown type that may be skipped.

    Raises:
        UndecodableEvent: the type or its form is unknown and may not be skipped, or the data does not fit it.
    """
    header = entry.header
    registered = EVENT_TYPES.get(header.type)
    if registered is None or header.schema_version != registered.schema_version:
        return None if header.may_ignore else _undecodable(entry, _UNKNOWN)
    try:
        return Fact(header, _decoder(registered.struct).decode(entry.data))
    except msgspec.MsgspecError as error:
        return _undecodable(entry, str(error))


def _undecodable(entry: Entry, why: str) -> NoReturn:
    raise UndecodableEvent(entry, why)


@cache
def published_struct(struct: type[Struct]) -> type[Struct]:
    """Return the form of an event that may be published: the same fields, a secret by its id alone."""
    fields = msgspec.structs.fields(struct)
    if not any(field.type is events.Secret for field in fields):
        return struct
    return msgspec.defstruct(
        struct.__name__,
        [(field.name, PublishedSecret if field.type is events.Secret else field.type) for field in fields],
        frozen=True,
        kw_only=True,
        namespace={"__doc__": f"{struct.__doc__} As published: without the digest."},
    )


def publish(entry: Entry) -> tuple[str, bytes]:
    """Return the type and data under which this row may be published.

    The data is always written anew through the published form: a field that is not known here cannot slip through.

    Raises:
        UndecodableEvent: the type or its form is not known here, so that what it holds cannot be judged, and its
            envelope does not allow to leave it out. To withhold it would take it from the subscribers for ever.
    """
    header = entry.header
    registered = EVENT_TYPES.get(header.type)
    if registered is None or header.schema_version != registered.schema_version:
        return (WITHHELD_TYPE, b"{}") if header.may_ignore else _undecodable(entry, _UNKNOWN)
    if registered.withheld:
        return WITHHELD_TYPE, b"{}"
    try:
        return header.type, _encode(_decoder(published_struct(registered.struct)).decode(entry.data))
    except msgspec.MsgspecError as error:
        return _undecodable(entry, str(error))
