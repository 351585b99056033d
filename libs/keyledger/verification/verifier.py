"""Is this token good for this request?"""

import hmac
from collections.abc import Collection
from typing import Final, Protocol

from keyledger.contracts.verdict import Code
from keyledger.domain.events import Environment
from keyledger.verification.fingerprint import fingerprint
from keyledger.verification.freshness import Freshness
from keyledger.verification.index import LmdbIndex
from keyledger.verification.joining import Held, Snapshot
from keyledger.verification.peppers import KeyedDigest
from keyledger.verification.records import (
    KeyRecord,
    OwnerRecord,
    ParkedRecord,
    SecretRecord,
    StoredKey,
    decode_stored_key,
    encode_stored,
)
from keyledger.verification.token import BRAND, Token, parse
from keyledger.verification.verdict import Ask, Claimed, Verdict


class PepperSource(Protocol):
    """The peppers that this node may know."""

    def pepper(self, pepper_id: str, organization_id: str) -> bytes | None:
        """Return an organization's pepper under the named master; None where it is not known here."""
        ...


_NOBODY: Final = "org_0000000000000000000000"
_MOST_PEPPERS: Final = 20_000
_DUMMY_PEPPER: Final = bytes(32)
_DUMMY: Final = KeyRecord(
    _NOBODY,
    "personal",
    "user",
    "user_0000000000000000000000",
    "no such key",
    "viewer",
    "dev",
    None,
    0,
    (SecretRecord("0" * 16, "0" * 12, bytes(32)),),
)
_DUMMY_LINE: Final = encode_stored(StoredKey(1, _DUMMY))
"""Stands in for a key that is not there, so that asking for it costs what asking for another one costs."""


class Verifier:
    """Judges tokens against this process's index. Synchronous and without waiting: a few microseconds, in any thread.

    ``organizations``: those whose keys are good here (empty: all); another's good key is answered like a wrong one.
    ``fingerprint_key`` (32 bytes) keys the fingerprints of tokens whose key is unknown.
    """

    def __init__(
        self,
        index: LmdbIndex,
        peppers: PepperSource,
        freshness: Freshness,
        *,
        fingerprint_key: bytes,
        organizations: Collection[str] = (),
        environments: Collection[Environment] = ("dev", "staging", "prod"),
        brand: str = BRAND,
    ) -> None:
        self._index, self._peppers, self._freshness = index, peppers, freshness
        self._fingerprints = KeyedDigest(fingerprint_key)
        self._organizations, self._environments = frozenset(organizations), frozenset(environments)
        self._bound_to = next(iter(self._organizations)) if len(self._organizations) == 1 else None
        self._brand = brand
        self._snapshot = Snapshot(-1, 0, index.environment)
        self._digests: dict[bytes, KeyedDigest] = {}

    def verify(self, token_text: str | None, ask: Ask) -> Verdict:
        """Return the verdict on a token as it was sent (None: none was). Never raises for what a sender may send."""
        if token_text is None:
            return Verdict(code="missing-credential", claimed=Claimed(self._bound_to))
        token = parse(token_text, brand=self._brand)
        if token is None:
            return Verdict(code="invalid-credential", claimed=self._unknown(token_text))
        if not self._freshness.may_answer(ask.now):
            return Verdict(
                code="verifier-stale",
                claimed=self._unknown(token_text),
                position=self._freshness.position,
                fresh_as_of=self._freshness.fresh_as_of,
                stale=True,
            )
        return self._look_up(token, token_text, ask)

    def _look_up(self, token: Token, token_text: str, ask: Ask) -> Verdict:
        environment = self._index.environment
        transaction = environment.begin()
        try:
            line = transaction.get(token.key_id.encode())
            key = decode_stored_key(_DUMMY_LINE if line is None else line).row
            if key is None:
                raise TypeError(f"the record of {token.key_id} is empty, and no fold of this generation empties one")
            parked = isinstance(key, ParkedRecord)
            if isinstance(key, ParkedRecord):
                key = key.last if isinstance(key.last, KeyRecord) else _DUMMY
            secret = self._matching(key, token, ask.now)
            known = line is not None and key is not _DUMMY and self._is_served(key)
            if not known or parked or secret is None or token.environment != key.environment:
                unknown = self._unknown(token_text)  # also where it is not needed: the same work for every refusal
                claimed = Claimed(key.organization_id, token.key_id) if known else unknown
                return Verdict(code="invalid-credential", claimed=claimed)
            snapshot = self._snapshot
            if snapshot.number != transaction.id() or snapshot.environment is not environment:
                position = self._index.checkpoint_in(transaction).position
                snapshot = self._snapshot = Snapshot(transaction.id(), position, environment)
            owner = snapshot.owner_of(key, transaction)
            held = None if owner is None else snapshot.held_by(key, owner, transaction)
        finally:
            transaction.abort()
        if owner is None or held is None:
            return Verdict(code="invalid-credential", claimed=Claimed(key.organization_id, token.key_id))
        return self._judge(token.key_id, key, owner, held, ask, secret_id=secret.id, position=snapshot.position)

    def _judge(
        self,
        key_id: str,
        key: KeyRecord,
        owner: OwnerRecord,
        held: Held,
        ask: Ask,
        *,
        secret_id: str,
        position: int,
    ) -> Verdict:
        code: Code = "valid"
        if key.revoked:
            code = "revoked"
        elif not owner.active or key.created_position < owner.deactivated_position:
            code = "owner-deactivated"
        elif key.disabled:
            code = "disabled"
        elif key.expires_at is not None and key.expires_at <= ask.now:
            code = "expired"
        elif ask.permission is not None and not held.authority.allows(ask.permission):
            code = "insufficient-permission"
        return Verdict(
            code=code,
            key_id=key_id,
            name=key.name,
            type=key.type,
            organization_id=key.organization_id,
            operator=held.operator,
            owner_type=key.owner_type,
            owner_id=key.owner_id,
            role=held.role,
            permissions=held.permissions,
            environment=key.environment,
            expires_at=key.expires_at,
            metadata=key.metadata,
            secret_id=secret_id,
            authority=held.authority,
            position=position,
            fresh_as_of=self._freshness.fresh_as_of,
            stale=self._freshness.on_stale == "allow" and self._freshness.is_stale(ask.now),
        )

    def _matching(self, key: KeyRecord, token: Token, now: int) -> SecretRecord | None:
        """Return the live secret that was sent. Every secret of the key costs its HMAC, whether or not it can match."""
        matching = None
        for secret in key.secrets:
            pepper = self._peppers.pepper(secret.pepper, key.organization_id)
            sent = self._digest_under(_DUMMY_PEPPER if pepper is None else pepper)
            if (
                hmac.compare_digest(sent.of(token.secret), secret.digest)
                and pepper is not None
                and (secret.ends_at is None or now < secret.ends_at)
            ):
                matching = secret
        return matching

    def _digest_under(self, pepper: bytes) -> KeyedDigest:
        try:
            return self._digests[pepper]
        except KeyError:
            if len(self._digests) >= _MOST_PEPPERS:
                self._digests.clear()
            made = self._digests[pepper] = KeyedDigest(pepper)
            return made

    def _is_served(self, key: KeyRecord) -> bool:
        bound = not self._organizations or key.organization_id in self._organizations
        return bound and key.environment in self._environments

    def _unknown(self, token_text: str) -> Claimed:
        return Claimed(self._bound_to, fingerprint=fingerprint(self._fingerprints, token_text))
