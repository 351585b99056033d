"""A question to a verifier, and its answer."""

from typing import Any, Final

from msgspec import Struct

from keyledger.contracts.verdict import Code
from keyledger.domain.events import Environment, KeyType, OwnerType
from keyledger.domain.permissions import Authority


class Ask(Struct, frozen=True, gc=False):
    """When (us) a token is judged, for what (``resource:action``; None: only whether it is good), and who sent it.

    ``source`` is the sender's address: it and ``request_id`` do not change the verdict, only what is recorded of it.
    """

    now: int
    permission: str | None = None
    source: str = ""
    request_id: str | None = None


class Claimed(Struct, frozen=True, gc=False):
    """Which key an attempt was about, as far as it can be told without a right secret.

    For the record of the attempt alone: none of it may reach the sender. ``fingerprint`` stands for a token whose key
    is not known here.
    """

    organization_id: str | None = None
    key_id: str | None = None
    fingerprint: str | None = None


NOTHING_CLAIMED: Final = Claimed()

NO_AUTHORITY: Final = Authority(())
"""Agrees to nothing."""


class Verdict(Struct, frozen=True, kw_only=True):
    """Whether a key is good, and whose it is. What the key is, is told only to the holder of a right secret.

    ``operator``: the key's organization is the operator's own. ``role``: the ids of the effective roles.
    ``permissions``: what they allow together (``resource:action``, ``*`` on either side). ``position``: the ledger
    position that the verdict stands for; with ``fresh_as_of`` (us) it says how old the verdict may be. ``stale``: the
    node cannot prove that it is fresh, and was told to answer all the same.
    """

    code: Code
    claimed: Claimed = NOTHING_CLAIMED
    key_id: str | None = None
    name: str | None = None
    type: KeyType | None = None
    organization_id: str | None = None
    operator: bool = False
    owner_type: OwnerType | None = None
    owner_id: str | None = None
    role: tuple[str, ...] = ()
    permissions: tuple[str, ...] = ()
    environment: Environment | None = None
    expires_at: int | None = None
    metadata: dict[str, Any] = {}
    secret_id: str | None = None
    authority: Authority = NO_AUTHORITY
    position: int = 0
    fresh_as_of: int | None = None
    stale: bool = False

    @property
    def valid(self) -> bool:
        """Say whether the key is good for what was asked."""
        return self.code == "valid"
