"""What the verification index holds: one record for each key, owner, role and organization, as short as a check allows.

``gc=False``: they hold no cycle, and a check makes several of them, which the collector would count and visit.
Times are microseconds since 1970. Field order is the wire form (msgpack arrays): a change needs a new generation.
"""

from typing import Any, Final

import msgspec
from msgspec import Struct

from keyledger.domain.events import Environment, KeyType, OwnerType


class SecretRecord(Struct, frozen=True, gc=False, array_like=True):
    """One live secret: whose digest it is, under which master, and when it ends (None: not by the clock)."""

    id: str
    pepper: str
    digest: bytes
    ends_at: int | None = None


class KeyRecord(Struct, frozen=True, gc=False, array_like=True, tag_field="kind", tag="key"):
    """A key. A revoked one stays, so that the holder of a right secret learns what happened to it."""

    organization_id: str
    type: KeyType
    owner_type: OwnerType
    owner_id: str
    name: str
    role: str | None
    environment: Environment
    expires_at: int | None
    created_position: int
    secrets: tuple[SecretRecord, ...]
    revoked: bool = False
    disabled: bool = False
    metadata: dict[str, Any] = {}


class OwnerRecord(Struct, frozen=True, gc=False, array_like=True, tag_field="kind", tag="owner"):
    """A user with the roles it has, or a team or service account, which has none of its own.

    ``deactivated_position``: of a user's last deactivation; 0: there was none. A key from before it is dead for ever.
    """

    organization_id: str
    type: OwnerType
    roles: tuple[str, ...] = ()
    active: bool = True
    deactivated_position: int = 0


class RoleRecord(Struct, frozen=True, array_like=True, tag_field="kind", tag="role"):
    """What a role allows and what it may hand out."""

    organization_id: str
    role: str
    name: str
    permissions: frozenset[str]
    grants: frozenset[str]


class OrganizationRecord(Struct, frozen=True, gc=False, array_like=True, tag_field="kind", tag="organization"):
    """A tenant."""

    operator: bool


class ParkedRecord(Struct, frozen=True, gc=False, array_like=True, tag_field="kind", tag="parked"):
    """Stands for a stream whose next event could not be folded: it grants nothing, and ``last`` is kept to go on from.

    Whoever holds what ``last`` says is a right secret may hold one that a waiting event has replaced.
    """

    last: KeyRecord | OwnerRecord | RoleRecord | OrganizationRecord | None


Record = KeyRecord | OwnerRecord | RoleRecord | OrganizationRecord
StoredRecord = Record | ParkedRecord


class Stored(Struct, frozen=True, gc=False, array_like=True):
    """A line of the index: the version of the stream it reflects, and the record (None: it vanished)."""

    version: int
    row: StoredRecord | None


class StoredKey(Struct, frozen=True, gc=False, array_like=True):
    """A line under a key's id. Knowing the type beforehand makes decoding faster."""

    version: int
    row: KeyRecord | ParkedRecord | None


# Sets in one order: each process has an order of its own, and two indexes of the same facts must be the same bytes.
encode_stored: Final = msgspec.msgpack.Encoder(order="deterministic").encode
decode_stored: Final = msgspec.msgpack.Decoder(Stored).decode
decode_stored_key: Final = msgspec.msgpack.Decoder(StoredKey).decode
