"""The real clock and the real randomness."""

import asyncio
import secrets
import time

import uuid_utils

from keyledger.domain.identifiers import Kind, resource_id


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        return time.time_ns() // 1_000

    def monotonic(self) -> float:
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemRandomness:
    """The operating system's randomness."""

    def resource_id(self, kind: Kind) -> str:
        return resource_id(kind, uuid_utils.uuid7().int)

    def token_hex(self, size_bytes: int) -> str:
        return secrets.token_hex(size_bytes)

    def token_bytes(self, size_bytes: int) -> bytes:
        return secrets.token_bytes(size_bytes)
