"""A key's life: created, rotated, changed, disabled and enabled, revoked."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar, assert_never

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import replace

from keyledger.domain.events import (
    Environment,
    KeyCreated,
    KeyDisabled,
    KeyEnabled,
    KeyEvent,
    KeyRevoked,
    KeyRotated,
    KeyRotationFinished,
    KeyType,
    KeyUpdated,
    OwnerType,
    RevocationReason,
    Secret,
    SecretEnd,
)
from keyledger.domain.metadata import Metadata, excess_of, is_same, merged


class Absent(Struct, frozen=True):
    """There never was such a key."""


class LiveSecret(Struct, frozen=True):
    """A secret that works until ``ends_at`` (None: until something else ends it)."""

    secret: Secret
    ends_at: datetime | None = None

    @property
    def id(self) -> str:
        """Which of the key's secrets it is."""
        return self.secret.id

    def works_at(self, at: datetime) -> bool:
        """Say whether it works at a moment: until its end, and not at it."""
        return self.ends_at is None or at < self.ends_at


class Active(Struct, frozen=True, kw_only=True):
    """A key that has not been revoked. It may have expired: that is a matter of the clock, not of a fact."""

    organization_id: str
    key_id: str
    type: KeyType
    owner_type: OwnerType
    owner_id: str
    name: str
    description: str
    role: str | None
    environment: Environment
    expires_at: datetime | None
    secrets: tuple[LiveSecret, ...]
    disabled: bool = False
    metadata: Metadata = {}


class Revoked(Struct, frozen=True):
    """A key that is over, as it was when it ended."""

    last: Active
    reason: RevocationReason


Key = Absent | Active | Revoked


class CreateKey(Struct, frozen=True, kw_only=True):
    """Make a key. ``owner_type`` follows from the type: personal keys belong to users."""

    organization_id: str
    key_id: str
    type: KeyType
    owner_id: str
    name: str
    description: str
    role: str | None
    environment: Environment
    expires_at: datetime | None
    secret: Secret
    at: datetime
    metadata: Metadata = {}


class RotateKey(Struct, frozen=True, kw_only=True):
    """Give the key a new secret; the one that it takes the place of works on for ``grace_seconds``."""

    key_id: str
    secret: Secret
    at: datetime
    grace_seconds: int = 0


class FinishRotation(Struct, frozen=True):
    """End what is left of a grace: from now on the newest secret works alone."""

    key_id: str


class UpdateKey(Struct, frozen=True, kw_only=True):
    """Change what is given; leave what is not. ``metadata`` is a merge patch; None removes all of it."""

    key_id: str
    at: datetime
    name: str | UnsetType = UNSET
    description: str | UnsetType = UNSET
    role: str | UnsetType | None = UNSET
    expires_at: datetime | UnsetType | None = UNSET
    metadata: Metadata | UnsetType | None = UNSET


class DisableKey(Struct, frozen=True):
    """Refuse the key until it is enabled again."""

    key_id: str


class EnableKey(Struct, frozen=True):
    """Let a disabled key work again."""

    key_id: str


class RevokeKey(Struct, frozen=True):
    """End the key, for ever."""

    key_id: str
    reason: RevocationReason = "unspecified"


KeyCommand = CreateKey | RotateKey | FinishRotation | UpdateKey | DisableKey | EnableKey | RevokeKey


class KeyNotFound(Exception):
    """No such key, or none any more."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id}")
        self.key_id = key_id


class KeyRefused(Exception):
    """A command that cannot be carried out as it is. ``field`` names what to change."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(why)
        self.field, self.why = field, why


OWNER_TYPES: dict[KeyType, OwnerType] = {"personal": "user", "team": "team", "service": "service"}


def decide(key: Key, command: KeyCommand) -> list[KeyEvent]:
    """Say what happens. A command that would change nothing has no event."""
    match command:
        case CreateKey():
            return _create(key, command)
        case RotateKey():
            return _rotate(_living(key, command.key_id), command)
        case FinishRotation():
            return _finish(_living(key, command.key_id))
        case UpdateKey():
            return _update(_living(key, command.key_id), command)
        case DisableKey() | EnableKey():
            return _switch(_living(key, command.key_id), command)
        case RevokeKey():
            living = _living(key, command.key_id)
            return [
                KeyRevoked(organization_id=living.organization_id, key_id=command.key_id, reason=command.reason),
            ]
        case _:
            assert_never(command)


def _living(key: Key, key_id: str) -> Active:
    match key:
        case Active():
            return key
        case Absent() | Revoked():
            raise KeyNotFound(key_id)
        case _:
            assert_never(key)


def _create(key: Key, command: CreateKey) -> list[KeyEvent]:
    if not isinstance(key, Absent):
        raise KeyRefused("id", f"{command.key_id} exists already")
    if command.role is None and command.type != "personal":
        raise KeyRefused("role", f"a {command.type} key needs a role: only a personal key can have its owner's")
    _must_be_ahead(command.expires_at, command.at)
    return [
        KeyCreated(
            organization_id=command.organization_id,
            key_id=command.key_id,
            type=command.type,
            owner_type=OWNER_TYPES[command.type],
            owner_id=command.owner_id,
            name=command.name,
            description=command.description,
            role=command.role,
            environment=command.environment,
            expires_at=command.expires_at,
            secret=command.secret,
            metadata=_fitting(merged({}, command.metadata)),
        ),
    ]


def _rotate(key: Active, command: RotateKey) -> list[KeyEvent]:
    """Give the newest secret its grace. Older ones end, whatever they were promised: two at a time, never more."""
    newest, *older = (live.id for live in key.secrets)
    grace = SecretEnd(id=newest, ends_at=command.at + timedelta(seconds=command.grace_seconds))
    return [
        KeyRotated(
            organization_id=key.organization_id,
            key_id=key.key_id,
            secret=command.secret,
            ended=(grace if command.grace_seconds else SecretEnd(id=newest), *(SecretEnd(id=id_) for id_ in older)),
        ),
    ]


def _finish(key: Active) -> list[KeyEvent]:
    """End all but the newest, also what has run out by our clock: a verifier's may be behind."""
    older = tuple(live.id for live in key.secrets[1:])
    if not older:
        return []
    return [KeyRotationFinished(organization_id=key.organization_id, key_id=key.key_id, ended=older)]


def _update(key: Active, command: UpdateKey) -> list[KeyEvent]:
    if command.role is None and key.type != "personal":
        raise KeyRefused("role", f"a {key.type} key needs a role: only a personal key can have its owner's")
    asked = {field: getattr(command, field) for field in ("name", "description", "role", "expires_at")}
    changes = {field: new for field, new in asked.items() if new is not UNSET and new != getattr(key, field)}
    if "expires_at" in changes:
        _must_be_ahead(changes["expires_at"], command.at)
    if command.metadata is not UNSET:
        metadata = _fitting({} if command.metadata is None else merged(key.metadata, command.metadata))
        changes |= {} if is_same(metadata, key.metadata) else {"metadata": metadata}
    if not changes:
        return []
    return [KeyUpdated(organization_id=key.organization_id, key_id=key.key_id, **changes)]


def _switch(key: Active, command: DisableKey | EnableKey) -> list[KeyEvent]:
    match command:
        case DisableKey() if not key.disabled:
            return [KeyDisabled(organization_id=key.organization_id, key_id=key.key_id)]
        case EnableKey() if key.disabled:
            return [KeyEnabled(organization_id=key.organization_id, key_id=key.key_id)]
        case _:
            return []


def _must_be_ahead(expires_at: datetime | None, at: datetime) -> None:
    if expires_at is not None and expires_at <= at:
        raise KeyRefused("expires_at", "the expiry must lie in the future; to end a key now, delete it")


def _fitting(metadata: Metadata) -> Metadata:
    excess = excess_of(metadata)
    if excess is not None:
        raise KeyRefused("metadata", excess)
    return metadata


def evolve(key: Key, event: KeyEvent) -> Key:
    """Return the key after the event. The events of one key come in order, the first is KeyCreated."""
    match event:
        case KeyCreated():
            return Active(
                organization_id=event.organization_id,
                key_id=event.key_id,
                type=event.type,
                owner_type=event.owner_type,
                owner_id=event.owner_id,
                name=event.name,
                description=event.description,
                role=event.role,
                environment=event.environment,
                expires_at=event.expires_at,
                secrets=(LiveSecret(event.secret),),
                metadata=event.metadata,
            )
        case KeyRotated():
            kept = kept_by(event, _active(key).secrets, lambda live, at: replace(live, ends_at=at))
            return replace(_active(key), secrets=(LiveSecret(event.secret), *kept))
        case KeyRotationFinished():
            left = tuple(live for live in _active(key).secrets if live.id not in event.ended)
            return replace(_active(key), secrets=left)
        case KeyUpdated():
            return replace(_active(key), **changes_of(event))
        case KeyDisabled() | KeyEnabled():
            return replace(_active(key), disabled=isinstance(event, KeyDisabled))
        case KeyRevoked():
            return Revoked(_active(key), event.reason)
        case _:
            assert_never(event)


class _HasId(Protocol):
    @property
    def id(self) -> str: ...


_Secret = TypeVar("_Secret", bound=_HasId)


def kept_by(
    event: KeyRotated, secrets: Iterable[_Secret], with_end: Callable[[_Secret, datetime], _Secret]
) -> list[_Secret]:
    """Return those of the secrets before a rotation that work on, each that has a grace now made by ``with_end``."""
    ends = {end.id: end.ends_at for end in event.ended}
    over = {id_ for id_, ends_at in ends.items() if ends_at is None}
    left = (secret for secret in secrets if secret.id not in over)
    return [secret if (ends_at := ends.get(secret.id)) is None else with_end(secret, ends_at) for secret in left]


def changes_of(event: KeyUpdated) -> dict[str, Any]:
    """Return the fields that the event sets, by name."""
    fields = {field: getattr(event, field) for field in ("name", "description", "role", "expires_at", "metadata")}
    return {field: new for field, new in fields.items() if new is not UNSET}


def _active(key: Key) -> Active:
    if not isinstance(key, Active):
        raise TypeError(f"an event on a key that is {type(key).__name__}: its stream is out of order")
    return key


def fold(events: list[KeyEvent]) -> Key:
    """Return the key that these events, all of one stream, make."""
    key: Key = Absent()
    for event in events:
        key = evolve(key, event)
    return key
