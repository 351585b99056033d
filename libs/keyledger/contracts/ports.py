"""What the outside world gives and a simulation can take over: time, waiting and randomness."""

from typing import Protocol

from keyledger.domain.identifiers import Kind


class Clock(Protocol):
    """Wall time and waiting."""

    def now(self) -> int:
        """Return microseconds since 1970-01-01T00:00:00Z."""
        ...

    def monotonic(self) -> float:
        """Return seconds since some fixed moment; never goes back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after about ``seconds``."""
        ...


class Randomness(Protocol):
    """Ids and secrets that nobody can guess."""

    def resource_id(self, kind: Kind) -> str:
        """Return a new id, in the order of time (UUIDv7)."""
        ...

    def token_hex(self, size_bytes: int) -> str:
        """Return ``size_bytes`` random bytes as lower-case hexadecimal."""
        ...

    def token_bytes(self, size_bytes: int) -> bytes:
        """Return ``size_bytes`` random bytes."""
        ...
