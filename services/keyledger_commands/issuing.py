"""Secrets of keys: made, digested, and shown once."""

from typing import Final

from msgspec import Struct

from keyledger.contracts.ports import Randomness
from keyledger.domain.events import Environment, Secret
from keyledger.verification.peppers import Peppers
from keyledger.verification.token import SECRET_BYTES, mint, secret_of

_SECRET_ID_BYTES: Final = 8


class Issued(Struct, frozen=True):
    """A new secret: what is kept of it, and the token that is shown once."""

    secret: Secret
    token: str

    def __repr__(self) -> str:
        """Show which secret is meant and never the token."""
        return f"Issued({self.secret.id!r})"


class Issuer:
    """Makes the secrets of keys."""

    def __init__(self, peppers: Peppers, randomness: Randomness) -> None:
        self._peppers, self._randomness = peppers, randomness

    def mint(self, environment: Environment, key_id: str) -> str:
        """Return a token with a new secret of 160 random bits."""
        return mint(environment, key_id, self._randomness.token_bytes(SECRET_BYTES))

    def kept(self, organization_id: str, token: str) -> Secret:
        """Return what is kept of a token: the digest of its secret under its organization's pepper."""
        pepper, digest = self._peppers.digest(organization_id, secret_of(token))
        return Secret(id=self._randomness.token_hex(_SECRET_ID_BYTES), digest=digest, pepper=pepper)

    def issue(self, organization_id: str, key_id: str, environment: Environment) -> Issued:
        """Return a new secret for a key."""
        token = self.mint(environment, key_id)
        return Issued(self.kept(organization_id, token), token)
