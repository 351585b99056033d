"""What stands for a token whose key is unknown: keyed, so that nobody can search backwards from it."""

from typing import Final, Protocol

from keyledger.verification.peppers import KeyedDigest

FINGERPRINT_DIGITS: Final = 24
"""96 bits of a keyed digest: enough to tell tokens apart."""


class KeySource(Protocol):
    """Gives keys for other purposes than secrets (``Peppers`` does)."""

    def derived(self, purpose: str) -> bytes:
        """Return the 32-byte key of one purpose."""
        ...


def fingerprint_key(peppers: KeySource) -> bytes:
    """Return the 32-byte key of an installation's fingerprints: the same in every service, so that they compare."""
    return peppers.derived("fingerprint")


def fingerprint(keyed: KeyedDigest, token_text: str) -> str:
    """Return the fingerprint of what was sent as a token: hexadecimal, of ``FINGERPRINT_DIGITS`` digits."""
    return keyed.of(token_text.encode("utf-8", "surrogatepass")).hex()[:FINGERPRINT_DIGITS]
