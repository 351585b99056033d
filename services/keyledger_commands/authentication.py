"""Who sends a management request, judged by folding the ledger itself.

Never by the log and never by a read model: when the broker is gone or a projection is behind, an operator must still
get in to revoke a key, and a key that was revoked a moment ago must not.
"""

import hmac
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, assert_never

from fastapi import Request
from msgspec import Struct

from keyledger.contracts.auth_event import AuthAttempt
from keyledger.contracts.ports import Clock, Randomness
from keyledger.contracts.verdict import Code
from keyledger.domain.identifiers import role_stream
from keyledger.domain.keys import Absent, Active, Key, LiveSecret, Revoked
from keyledger.domain.organizations import Organization
from keyledger.domain.people import DeactivatedUser, Nobody, ServiceAccount, Team, User, roles_of
from keyledger.domain.permissions import Authority
from keyledger.domain.roles import definition_of
from keyledger.domain.times import moment
from keyledger.verification.fingerprint import fingerprint, fingerprint_key
from keyledger.verification.peppers import KeyedDigest, Peppers, digest
from keyledger.verification.source import Network, SourceAddresses
from keyledger.verification.token import Token, parse
from keyledger.web.principal import Principal
from keyledger_commands.streams import Read, Stream, Streams, died_with_owner

_DUMMY_PEPPER: Final = bytes(32)
_DUMMY_DIGEST: Final = bytes(32)

RecordAttempt = Callable[[AuthAttempt], None]
"""Takes one attempt; returns at once and never raises, whatever becomes of the log."""


class Judgement(Struct, frozen=True, kw_only=True):
    """What an attempt came to. ``principal`` is there for a good key only."""

    code: Code
    key: Active | None = None
    secret_id: str | None = None
    fingerprint: str | None = None
    principal: Principal | None = None


class LedgerAuthentication:
    """Judges tokens by three small questions, and records attempts, refused or not."""

    def __init__(
        self,
        streams: Streams,
        peppers: Peppers,
        *,
        clock: Clock,
        randomness: Randomness,
        record: RecordAttempt,
        node: str,
        trusted_proxies: Sequence[Network] = (),
    ) -> None:
        self._streams, self._peppers, self._clock, self._randomness = streams, peppers, clock, randomness
        self._record, self._node, self._sources = record, node, SourceAddresses(trusted_proxies)
        self._fingerprints = KeyedDigest(fingerprint_key(peppers))

    def source(self, request: Request) -> str:
        """Return the address that a request came from: the peer's, or the one that a trusted proxy names."""
        peer = request.client.host if request.client else None
        return self._sources.of(peer, request.headers.getlist("x-forwarded-for"))

    async def judge(self, sent: str | None, permission: str) -> Judgement:
        """Judge a presented token by the ledger as it is now. Raises LedgerUnavailable."""
        return await self._judge(sent, permission, self._streams.load)

    async def presume(self, sent: str | None, permission: str) -> Judgement:
        """Judge a presented token by what was read a moment ago. A refusal means nothing: only the ledger refuses."""
        return await self._judge(sent, permission, self._streams.recall)

    async def _judge(self, sent: str | None, permission: str, read: Read) -> Judgement:
        if sent is None:
            return Judgement(code="missing-credential")
        # Computed for good keys too.
        unknown = Judgement(code="invalid-credential", fingerprint=fingerprint(self._fingerprints, sent))
        token = parse(sent)
        if token is None:
            return unknown
        stream = (await read([token.key_id]))[token.key_id]
        key = stream.key
        now = moment(self._clock.now())
        secret = self._matching_secret(key, token, now)
        known = _as_last_seen(key)
        if known is None:
            return unknown
        if secret is None or token.environment != known.environment:
            return Judgement(code="invalid-credential", key=known)
        standing = await _standing(known, stream, read)
        code = _code_for_its_holder(key, known, standing, permission, now)
        principal = standing.principal if standing is not None and code == "valid" else None
        return Judgement(code=code, key=known, secret_id=secret.secret.id, principal=principal)

    def _matching_secret(self, key: Key, token: Token, now: datetime) -> LiveSecret | None:
        """Return the live secret that was sent. A key that is not there costs one comparison too."""
        known = _as_last_seen(key)
        if known is None:
            hmac.compare_digest(digest(_DUMMY_PEPPER, token.secret), _DUMMY_DIGEST)
            return None
        matching = None
        for live in known.secrets:
            pepper = self._peppers.pepper(live.secret.pepper, known.organization_id)
            sent = digest(_DUMMY_PEPPER if pepper is None else pepper, token.secret)
            right = hmac.compare_digest(sent, live.secret.digest) and pepper is not None
            if right and live.works_at(now):
                matching = live
        return matching

    def record(self, judged: Judgement, permission: str, *, source: str, request_id: str | None) -> None:
        """Record what the attempt came to."""
        key = judged.key
        self._record(
            AuthAttempt(
                id=f"att_{self._randomness.token_hex(12)}",
                at=self._clock.now(),
                node=self._node,
                surface="management",
                code=judged.code,
                source=source,
                organization_id=None if key is None else key.organization_id,
                key_id=None if key is None else key.key_id,
                secret_id=judged.secret_id,
                fingerprint=judged.fingerprint,
                environment=None if key is None else key.environment,
                request_id=request_id,
                permission=permission,
            )
        )


def _code_for_its_holder(key: Key, known: Active, standing: "_Standing | None", permission: str, now: datetime) -> Code:
    """Return what the holder of a right secret may know."""
    code: Code = "valid"
    if standing is None:  # its owner or organization is not there: it can do nothing, for whoever holds it
        code = "invalid-credential"
    elif isinstance(key, Revoked):
        code = "revoked"
    elif standing.died_with_owner:
        code = "owner-deactivated"
    elif known.disabled:
        code = "disabled"
    elif known.expires_at is not None and known.expires_at <= now:
        code = "expired"
    elif not standing.principal.allows(permission):
        code = "insufficient-permission"
    return code


def _as_last_seen(key: Key) -> Active | None:
    """Return what is known of a key, revoked or not; None where there never was one."""
    match key:
        case Active():
            return key
        case Revoked():
            return key.last
        case Absent():
            return None
        case _:
            assert_never(key)


class _Standing(Struct, frozen=True):
    """Who a key speaks for and what it may do now, unless it died when its owner was deactivated."""

    principal: Principal
    died_with_owner: bool


async def _standing(key: Active, stream: Stream, read: Read) -> _Standing | None:
    """Return how the key of a stream stands; None where its owner or organization is missing."""
    own = () if key.role is None else (role_stream(key.organization_id, key.role),)
    loaded = await read([key.owner_id, key.organization_id, *own])
    owner, organization = loaded[key.owner_id].owner, loaded[key.organization_id].organization
    if isinstance(owner, Nobody) or owner.organization_id != key.organization_id:
        return None
    if not isinstance(organization, Organization):
        return None
    owners = tuple(role_stream(key.organization_id, role) for role in roles_of(owner))
    if missing := [name for name in owners if name not in loaded]:
        loaded |= await read(missing)
    layers: list[tuple[str, ...]] = [own] if key.role is not None else []
    match owner:
        case User() | DeactivatedUser():  # a personal key never exceeds its owner
            layers.append(owners)
        case Team() | ServiceAccount():
            pass
        case _:
            assert_never(owner)
    principal = Principal(
        organization_id=key.organization_id,
        operator=organization.operator,
        key_id=key.key_id,
        owner_type=key.owner_type,
        owner_id=key.owner_id,
        authority=Authority(
            tuple(
                tuple(role for name in layer if (role := definition_of(loaded[name].role)) is not None)
                for layer in layers
            )
        ),
        rests_on={key.key_id: stream.version, **{name: found.version for name, found in loaded.items()}},
    )
    return _Standing(principal, died_with_owner(stream, loaded[key.owner_id]))
