"""What the verifier says of each key, against what its holder was told."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx2

from tests.faults.clients import ClientLedger, HeldKey

AT_ONCE = 16


async def verdict_violations(clients: ClientLedger, *, at_least: str, origin: str) -> list[str]:
    """Return the keys that are judged wrongly by the verifier at ``origin`` once it has applied ``at_least``.

    A revoked key and a replaced secret are refused with 401, a living key is good. Of a key on which a write is
    unknown nothing is expected.
    """
    turns = asyncio.Semaphore(AT_ONCE)

    async def judged(token: str) -> int:
        async with turns:
            return (await clients.verify(token, at_least=at_least, origin=origin)).status_code

    known = [key for key in clients.keys if not key.doubtful]
    return [wrong for found in await asyncio.gather(*(_wrong(key, judged) for key in known)) for wrong in found]


async def _wrong(key: HeldKey, judged: Callable[[str], Awaitable[int]]) -> list[str]:
    refused, good = httpx2.codes.UNAUTHORIZED, httpx2.codes.OK
    violations = [
        f"a replaced secret of {key.id} was answered {status}"
        for token in key.old_tokens
        if (status := await judged(token)) != refused
    ]
    if (status := await judged(key.token)) != (refused if key.revoked else good):
        violations.append(f"{'revoked' if key.revoked else 'living'} {key.id} was answered {status}")
    return violations
