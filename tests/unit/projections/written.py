"""A ledger that is written down by a test: rows with true hashes, and the records that carry them."""

from collections.abc import Sequence

from msgspec import Struct
from msgspec.structs import replace

from keyledger.contracts.cloudevents import private_record
from keyledger.contracts.envelope import FIRST_PREV_HASH, Entry, Header, seal
from keyledger.contracts.published_samples import stream_of
from keyledger.contracts.registry import encode
from keyledger.domain.events import (
    Event,
    KeyCreated,
    KeyDisabled,
    KeyEnabled,
    KeyRevoked,
    KeyRotated,
    KeyRotationFinished,
    KeyUpdated,
    RevocationReason,
    Secret,
    SecretEnd,
    TeamCreated,
    UserCreated,
    UserDeactivated,
    UserReactivated,
)
from keyledger.eventlog.port import NewRecord

STORE = "a" * 32
ANOTHER_STORE = "b" * 32
ORGANIZATION = "org_" + "1" * 22
START = 1_790_000_000_000_000


def key_id(number: int) -> str:
    return f"key_{number:022d}"


def created(number: int, **changes: object) -> KeyCreated:
    event = KeyCreated(
        organization_id=ORGANIZATION,
        key_id=key_id(number),
        type="team",
        owner_type="team",
        owner_id="team_" + "2" * 22,
        name=f"key {number}",
        description="",
        role="viewer",
        environment="dev",
        expires_at=None,
        secret=Secret(id="1", digest=b"digest", pepper="p"),
    )
    return replace(event, **changes)


def rotated(number: int, *, to: str = "2", ended: Sequence[SecretEnd] = ()) -> KeyRotated:
    secret = Secret(id=to, digest=b"another", pepper="p")
    return KeyRotated(organization_id=ORGANIZATION, key_id=key_id(number), secret=secret, ended=tuple(ended))


def finished(number: int, *ended: str) -> KeyRotationFinished:
    return KeyRotationFinished(organization_id=ORGANIZATION, key_id=key_id(number), ended=ended)


def disabled(number: int) -> KeyDisabled:
    return KeyDisabled(organization_id=ORGANIZATION, key_id=key_id(number))


def enabled(number: int) -> KeyEnabled:
    return KeyEnabled(organization_id=ORGANIZATION, key_id=key_id(number))


def renamed(number: int, name: str) -> KeyUpdated:
    return KeyUpdated(organization_id=ORGANIZATION, key_id=key_id(number), name=name)


def revoked(number: int, reason: RevocationReason = "unspecified") -> KeyRevoked:
    return KeyRevoked(organization_id=ORGANIZATION, key_id=key_id(number), reason=reason)


def team(name: str) -> TeamCreated:
    return TeamCreated(organization_id=ORGANIZATION, team_id="team_" + "2" * 22, name=name)


USER = "user_" + "5" * 22


def personal(number: int, **changes: object) -> KeyCreated:
    """Return a key of the user USER, with the role of its owner."""
    return created(number, **{"type": "personal", "owner_type": "user", "owner_id": USER, "role": None, **changes})


def user() -> UserCreated:
    return UserCreated(organization_id=ORGANIZATION, user_id=USER, roles=("viewer",))


def deactivated() -> UserDeactivated:
    return UserDeactivated(organization_id=ORGANIZATION, user_id=USER)


def reactivated() -> UserReactivated:
    return UserReactivated(organization_id=ORGANIZATION, user_id=USER)


class Written(Struct):
    """A growing ledger. ``versions`` may be changed by a test that wants a stream with a hole."""

    entries: list[Entry]
    versions: dict[str, int]

    def add(self, event: Event, **changes: object) -> Entry:
        stream = stream_of(event)
        position = len(self.entries) + 1
        self.versions[stream] = self.versions.get(stream, 0) + 1
        encoded = encode(event)
        header = Header(
            position=position,
            organization_id=ORGANIZATION,
            stream=stream,
            version=self.versions[stream],
            type=encoded.type,
            schema_version=encoded.schema_version,
            may_ignore=encoded.may_ignore,
            recorded_at=START + position,
            actor_user="user_" + "3" * 22,
            actor_key="key_" + "4" * 22,
            request_id="req_1",
            append_id="append",
            traceparent=None,
        )
        before = self.entries[-1].hash if self.entries else FIRST_PREV_HASH
        self.entries.append(seal(replace(header, **changes), encoded.data, before))
        return self.entries[-1]


def written(*events: Event) -> Written:
    """Return a ledger of these events, from position 1 on."""
    ledger = Written([], {})
    for event in events:
        ledger.add(event)
    return ledger


def records(entries: Sequence[Entry], store: str = STORE) -> list[NewRecord]:
    """Return what the relay sends for these rows."""
    carried = (private_record(entry, store) for entry in entries)
    return [NewRecord(None, value, headers) for headers, value in carried]
