"""Which event types there are, how each is written, and what of it is published.

The published form is the contract that other teams build on. It is derived from the private one: a secret is published
by its id alone, so that no digest can reach the topic by a forgotten field.

A form that was written once is read for ever: whatever was written in an older one is brought up to the current form
before anybody sees it, by one pure function for each breaking change.
"""

import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any, Final

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


Upcaster = Callable[[dict[str, Any]], dict[str, Any]]
"""From an event's JSON in one form to its JSON in the next. Pure: the same data gives the same data, for ever."""


class EventType(Struct, frozen=True):
    """One registered type in its current form. ``withheld``: others learn of the position and nothing else.

    ``upcasters``: the first leads from form 1 to form 2, the second from 2 to 3. A breaking change adds one.
    """

    struct: type[Struct]
    may_ignore: bool = False
    withheld: bool = False
    upcasters: tuple[Upcaster, ...] = ()

    @property
    def schema_version(self) -> int:
        """The version of the current form: 1, and one more for each breaking change."""
        return 1 + len(self.upcasters)


class UndecodableEvent(Exception):
    """A row whose event cannot be understood here, although its envelope could be read. ``why`` repeats no contents."""

    def __init__(self, entry: Entry, why: str) -> None:
        header = entry.header
        super().__init__(
            f"position {header.position} ({header.type} in form {header.schema_version} of {header.stream}): {why}"
        )
        self.header, self.why = header, why


EVENT_TYPES: Final[dict[str, EventType]] = {
    struct.__name__: EventType(struct)
    for struct in (
        events.OrganizationCreated,
        events.RoleDefined,
        events.RoleClosed,
        events.RoleDeleted,
        events.UserCreated,
        events.UserDeactivated,
        events.UserReactivated,
        events.TeamCreated,
        events.ServiceAccountCreated,
        events.KeyCreated,
        events.KeyRotated,
        events.KeyRotationFinished,
        events.KeyUpdated,
        events.KeyDisabled,
        events.KeyEnabled,
        events.KeyRevoked,
    )
}


class Withheld(Struct, frozen=True):
    """A fact that is private: others learn that there is one at this position, and nothing else."""


class Published(Struct, frozen=True):
    """What others get of a row: its type, the version of the form that the data has, and the data."""

    type: str
    schema_version: int
    data: bytes


UNREADABLE: Final = (ValueError, RecursionError)
"""What msgspec raises for data that it cannot read: its own errors are ValueErrors, as is text that is no UTF-8."""

_encode: Final = msgspec.json.Encoder().encode
_QUOTED_VALUE: Final = re.compile(r"enum value .*(?= - at `\$|$)", re.DOTALL)

WITHHELD: Final = Published(Withheld.__name__, 1, _encode(Withheld()))
"""The published stand-in for a private event. Never a null value, which is Kafka's tombstone."""


def encode(event: Event) -> EncodedEvent:
    """Return the event as it is kept."""
    name = type(event).__name__
    registered = EVENT_TYPES[name]
    return EncodedEvent(name, registered.schema_version, registered.may_ignore, _encode(event))


@cache
def _decoder(struct: type[Struct]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(struct)


def decode(entry: Entry, types: Mapping[str, EventType] = EVENT_TYPES) -> Fact | None:
    """Return what the row says, in the current form; None where it is of an unknown type that may be skipped.

    Raises:
        UndecodableEvent: the type or its form is unknown and may not be skipped, or the data does not fit it.
    """
    registered = _registered(entry, types)
    return None if registered is None else Fact(entry.header, _read(entry, registered, registered.struct))


def _registered(entry: Entry, types: Mapping[str, EventType]) -> EventType | None:
    """Return the type of a row whose form is known here; None where it is not, and its envelope says: no matter."""
    header = entry.header
    registered = types.get(header.type)
    if registered is None or not 1 <= header.schema_version <= registered.schema_version:
        if not header.may_ignore:
            raise UndecodableEvent(entry, "not known to this version of Keyledger")
        return None
    return registered


def _read(entry: Entry, registered: EventType, form: type[Struct]) -> Any:
    """Return the row's data as ``form``, which is the type's current one or what may be published of it."""
    data = entry.data
    try:
        if entry.header.schema_version < registered.schema_version:
            data = _encode(_upcast(entry, registered.upcasters))
        return _decoder(form).decode(data)
    except UNREADABLE as error:
        # It repeats a value that is none of an enumeration's, and nothing else of what it reads. So no trace shows it.
        raise UndecodableEvent(entry, _QUOTED_VALUE.sub("enum value", str(error))) from None


def _upcast(entry: Entry, upcasters: tuple[Upcaster, ...]) -> dict[str, Any]:
    data = msgspec.json.decode(entry.data, type=dict[str, Any])
    for upcaster in upcasters[entry.header.schema_version - 1 :]:
        try:
            data = upcaster(data)
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            # The data is not even of its own old form.
            raise UndecodableEvent(entry, f"cannot be brought to the current form: {type(error).__name__}") from None
    return data


@cache
def published_struct(struct: type[Struct]) -> type[Struct]:
    """Return the form of an event that may be published: the same fields, a secret by its id alone."""
    fields = msgspec.structs.fields(struct)
    if not any(field.type is events.Secret for field in fields):
        return struct
    return msgspec.defstruct(
        struct.__name__,
        [_published(field) for field in fields],
        frozen=True,
        kw_only=True,
        omit_defaults=struct.__struct_config__.omit_defaults,
        namespace={"__doc__": f"{struct.__doc__} As published: without the digest."},
    )


def _published(field: msgspec.structs.FieldInfo) -> tuple[str, Any, Any]:
    form = PublishedSecret if field.type is events.Secret else field.type
    # Each is NODEFAULT where there is none: a case that the stubs of msgspec leave out.
    default = msgspec.field(default=field.default, default_factory=field.default_factory)  # type: ignore[call-overload]
    return field.name, form, default


def publish(entry: Entry, types: Mapping[str, EventType] = EVENT_TYPES) -> Published:
    """Return what may be published of this row.

    The data is always written anew through the published form: a field that is not known here cannot slip through.

    Raises:
        UndecodableEvent: the type or its form is not known here, so that what it holds cannot be judged, and its
            envelope does not allow to leave it out. To withhold it would take it from the subscribers for ever.
    """
    registered = _registered(entry, types)
    if registered is None or registered.withheld:
        return WITHHELD
    data = _encode(_read(entry, registered, published_struct(registered.struct)))
    return Published(entry.header.type, registered.schema_version, data)
