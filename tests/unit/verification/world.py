"""A ledger of facts in memory, an index folded from it, and a verifier with a clock that stands where it is put."""

import asyncio
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from keyledger.contracts.cloudevents import private_record
from keyledger.contracts.envelope import FIRST_PREV_HASH, Entry, Fact, Header, seal
from keyledger.contracts.freshness import Head
from keyledger.contracts.registry import decode, encode
from keyledger.domain.events import (
    Event,
    KeyCreated,
    KeyRotated,
    KeyUpdated,
    OrganizationCreated,
    RoleDefined,
    Secret,
    SecretEnd,
    ServiceAccountCreated,
    TeamCreated,
    UserCreated,
    UserDeactivated,
    UserReactivated,
)
from keyledger.domain.identifiers import resource_id, role_stream
from keyledger.domain.permissions import BUILTIN_ROLES
from keyledger.eventlog.port import NewRecord
from keyledger.projections.port import Checkpoint, Versioned
from keyledger.verification.freshness import Freshness
from keyledger.verification.index import LmdbIndex, open_index
from keyledger.verification.peppers import Peppers
from keyledger.verification.projector import project
from keyledger.verification.token import mint, secret_of
from keyledger.verification.verdict import Ask
from keyledger.verification.verifier import Verifier

STORE = "a" * 32
T0 = datetime(2026, 1, 1, tzinfo=UTC)
PEPPERS = Peppers([b"first master of the tests, 32 b.", b"second master of the tests 32 b."])
FINGERPRINT_KEY = PEPPERS.derived("fingerprint")
INDEX_SIZE_MB = 32


def us(at: datetime) -> int:
    return (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)


class Clock:
    """Stands still until it is moved; sleeping moves it."""

    def __init__(self) -> None:
        self.time = us(T0)

    def now(self) -> int:
        return self.time

    def monotonic(self) -> float:
        return self.time / 1_000_000

    async def sleep(self, seconds: float) -> None:
        self.time += round(seconds * 1_000_000)
        await asyncio.sleep(0)


class Facts:
    """Appends facts as the ledger would, without its conditions."""

    def __init__(self, store: str = STORE) -> None:
        self.store = store
        self.entries: list[Entry] = []
        self._versions: dict[str, int] = {}
        self._secrets = 0

    def append(self, stream: str, event: Event) -> Entry:
        encoded = encode(event)
        self._versions[stream] = self._versions.get(stream, 0) + 1
        header = Header(
            position=len(self.entries) + 1,
            organization_id=event.organization_id,
            stream=stream,
            version=self._versions[stream],
            type=encoded.type,
            schema_version=encoded.schema_version,
            may_ignore=encoded.may_ignore,
            recorded_at=us(T0) + len(self.entries),
            actor_user=None,
            actor_key=None,
            request_id="req_1",
            append_id=f"{len(self.entries):032x}",
            traceparent=None,
        )
        entry = seal(header, encoded.data, self.entries[-1].hash if self.entries else FIRST_PREV_HASH)
        self.entries.append(entry)
        return entry

    def records(self, after: int = 0) -> list[NewRecord]:
        pairs = (private_record(entry, self.store) for entry in self.entries[after:])
        return [NewRecord(None, value, headers) for headers, value in pairs]

    def organization(self, number: int = 1) -> str:
        id_ = resource_id("org", number)
        self.append(id_, OrganizationCreated(organization_id=id_, name=f"organization {number}"))
        for builtin in BUILTIN_ROLES:
            self.role(id_, builtin.role, permissions=builtin.permissions, grants=builtin.grants)
        return id_

    def role(self, organization: str, role: str, *, permissions: Sequence[str], grants: Sequence[str] = ()) -> None:
        event = RoleDefined(
            organization_id=organization,
            role=role,
            name=role.title(),
            permissions=tuple(permissions),
            grants=tuple(grants),
        )
        self.append(role_stream(organization, role), event)

    def user(self, organization: str, number: int = 1, *, roles: Sequence[str] = ("developer",)) -> str:
        id_ = resource_id("user", number)
        self.append(id_, UserCreated(organization_id=organization, user_id=id_, roles=tuple(roles)))
        return id_

    def deactivate(self, organization: str, user: str) -> None:
        self.append(user, UserDeactivated(organization_id=organization, user_id=user))

    def reactivate(self, organization: str, user: str) -> None:
        self.append(user, UserReactivated(organization_id=organization, user_id=user))

    def team(self, organization: str, number: int = 1) -> str:
        id_ = resource_id("team", number)
        self.append(id_, TeamCreated(organization_id=organization, team_id=id_, name="team"))
        return id_

    def service_account(self, organization: str, number: int = 1) -> str:
        id_ = resource_id("service", number)
        event = ServiceAccountCreated(organization_id=organization, service_account_id=id_, name="service account")
        self.append(id_, event)
        return id_

    def secret(self, organization: str, key_id: str, environment: Any = "dev") -> tuple[Secret, str]:
        """Return a new secret and its token."""
        self._secrets += 1
        token = mint(environment, key_id, self._secrets.to_bytes(20))
        pepper, digest = PEPPERS.digest(organization, secret_of(token))
        return Secret(id=f"{self._secrets:016x}", digest=digest, pepper=pepper), token

    def key(self, organization: str, owner: str, number: int = 1, **more: Any) -> tuple[str, str]:
        """Create a key; return its id and token."""
        key_id = resource_id("key", number)
        owner_type = owner.partition("_")[0]
        environment = more.pop("environment", "dev")
        secret, token = self.secret(organization, key_id, environment)
        fields: dict[str, Any] = {
            "organization_id": organization,
            "key_id": key_id,
            "type": "personal" if owner_type == "user" else owner_type,
            "owner_type": owner_type,
            "owner_id": owner,
            "name": "a key",
            "description": "",
            "role": None if owner_type == "user" else "developer",
            "environment": environment,
            "expires_at": None,
            "secret": secret,
        }
        self.append(key_id, KeyCreated(**{**fields, **more}))
        return key_id, token

    def rotate(self, organization: str, key_id: str, *, ended: Iterable[SecretEnd]) -> tuple[str, str]:
        """Give the key another secret; return its id and token."""
        secret, token = self.secret(organization, key_id)
        event = KeyRotated(organization_id=organization, key_id=key_id, secret=secret, ended=tuple(ended))
        self.append(key_id, event)
        return secret.id, token

    def update(self, organization: str, key_id: str, **changes: Any) -> None:
        self.append(key_id, KeyUpdated(organization_id=organization, key_id=key_id, **changes))


async def fold_into(index: LmdbIndex, facts: Facts) -> Checkpoint:
    """Apply what the index does not hold yet, in one transaction."""
    last = await index.checkpoint()
    new = facts.entries[last.position :]
    if not new:
        return last
    async with index.transaction() as rows:
        held = await rows.load({entry.header.stream for entry in new})
        for entry in new:
            fact = decode(entry)
            assert isinstance(fact, Fact)
            row = project(held.get(entry.header.stream, Versioned(0, None)).row, fact)
            held[entry.header.stream] = Versioned(entry.header.version, row)
        await rows.save(held)
        checkpoint = Checkpoint(facts.store, new[-1].header.position, new[-1].hash, new[-1].header.position)
        await rows.move_checkpoint(expected=last, new=checkpoint)
    return checkpoint


class World:
    """Facts, an index, and verifiers over it."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.facts = Facts()
        self.index = open_index(folder, generation=1, size_mb=INDEX_SIZE_MB)
        self.freshness = Freshness(
            store=STORE,
            position=0,
            max_staleness_seconds=10,
            clock_skew_seconds=1,
            on_stale="refuse",
            clock=self.clock,
        )
        self.index.on_commit = lambda checkpoint: self.freshness.applied(checkpoint.store, checkpoint.position)

    def verifier(self, **more: Any) -> Verifier:
        peppers = more.pop("peppers", PEPPERS)
        return Verifier(self.index, peppers, self.freshness, fingerprint_key=FINGERPRINT_KEY, **more)

    async def fold(self) -> None:
        """Apply everything, and be fresh as of now."""
        await fold_into(self.index, self.facts)
        self.freshness.admitted = True
        self.beat()

    def beat(self) -> None:
        """Hear a head of now."""
        now = self.clock.now()
        self.freshness.heard(Head(store=STORE, position=len(self.facts.entries), at=now), now=now)

    def decoded(self, entry: Entry) -> Event:
        """Return the event of an entry."""
        fact = decode(entry)
        assert fact is not None
        return fact.event

    def ask(self, permission: str | None = None, *, after: timedelta = timedelta()) -> Ask:
        return Ask(self.clock.now() + us(T0 + after) - us(T0), permission, "192.0.2.1")
