"""Clients that write over HTTP and take down what they were told: carried out, refused, or nobody knows."""

import asyncio
import random
import time
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import httpx2

from keyledger.web.app import REQUEST_ID_HEADER
from tests.faults.processes import Served
from tests.faults.waiting import until

REQUEST_SECONDS = 30.0
PAUSE_SECONDS = 0.01
"""Between a refusal and the next attempt: a server that is away must not be all that the machine works on."""
MOST_KEYS = 8
"""Of one writer that live at the same time."""
WITHOUT_KEY = 0.3
"""How many writes have no idempotency key. If unknown they stay so: once or never."""
RESOLVE_SECONDS = 120.0
LONGEST_LOAD_SECONDS = 900.0

State = Literal["ok", "failed", "unknown"]
_OPEN_STATUSES = (500, 502, 504)


@dataclass
class Write:
    """One write and what its client knows of it. ``mark`` is its request id: by it the ledger's row is found.

    ``sent_at`` and ``answered_at`` are monotonic seconds; ``token`` is ``Keyledger-Position``, of an ``ok`` one.
    ``doubted``: a sending of it was not answered; a later refusal then says nothing about that one.
    """

    mark: str
    method: str
    path: str
    json: Any
    idempotency_key: str | None
    sent_at: float
    if_match: str | None = None
    origin: str | None = None
    by: str | None = field(default=None, repr=False)
    state: State = "unknown"
    doubted: bool = False
    status: int | None = None
    code: str = ""
    answered_at: float = 0.0
    token: str | None = None
    replayed: bool = False
    answer: dict[str, Any] = field(default_factory=dict, repr=False)  # may hold a key


@dataclass
class HeldKey:
    """A key as its holder knows it. ``doubtful``: a write on it is unknown, so nothing is expected of it."""

    id: str
    token: str = field(repr=False)
    old_tokens: list[str] = field(default_factory=list, repr=False)
    revoked: bool = False
    doubtful: bool = False


class ClientLedger:
    """Every write that was sent, and every key that was answered."""

    def __init__(self, origin: str, by: str, *, pause_seconds: float = 0.0) -> None:
        """Send to ``origin`` with the token ``by``. Each writer pauses after each write that was carried out."""
        self.writes: list[Write] = []
        self.keys: list[HeldKey] = []
        self._origin, self.by, self.pause_seconds = origin, by, pause_seconds
        self._client = httpx2.AsyncClient(
            timeout=REQUEST_SECONDS,
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    def count(self, state: State) -> int:
        """Return how many writes are in this state."""
        return sum(write.state == state for write in self.writes)

    async def send(
        self,
        method: str,
        path: str,
        json: Any = None,
        *,
        idempotency_key: str | None = "",
        if_match: str | None = None,
        origin: str | None = None,
        by: str | None = None,
    ) -> Write:
        """Send a write once. ``origin`` and ``by``: the server and the sender, where they are others than usual.

        ``idempotency_key``: one of its own if empty, none at all if None.
        """
        mark = uuid.uuid4().hex
        key = f"idem-{mark}" if idempotency_key == "" else idempotency_key
        write = Write(mark, method, path, json, key, time.monotonic(), if_match, origin, by)
        self.writes.append(write)
        await self._send(write)
        return write

    async def resolve(self, *, seconds: float = RESOLVE_SECONDS) -> None:
        """Send every unknown write that has an idempotency key again, until each is known."""
        async with asyncio.timeout(seconds):
            for write in self.writes:
                while write.state == "unknown" and write.idempotency_key is not None:
                    await self._send(write)
                    await asyncio.sleep(PAUSE_SECONDS)

    async def _send(self, write: Write) -> None:
        headers = {
            "Authorization": f"Bearer {write.by or self.by}",
            REQUEST_ID_HEADER: write.mark,
            **({} if write.idempotency_key is None else {"Idempotency-Key": write.idempotency_key}),
            **({} if write.if_match is None else {"If-Match": write.if_match}),
        }
        url = (write.origin or self._origin) + write.path
        try:
            answer = await self._client.request(write.method, url, json=write.json, headers=headers)
        except (httpx2.ConnectError, httpx2.ConnectTimeout):
            write.state = "unknown" if write.doubted else "failed"  # this time it was not even sent
        except httpx2.TransportError:
            write.state, write.doubted = "unknown", True
        else:
            _take_down(write, answer)

    async def verify(self, token: str, *, origin: str, at_least: str | None = None) -> httpx2.Response:
        """Present a token to the verifier."""
        headers = {"Authorization": f"Bearer {token}"}
        if at_least is not None:
            headers["Keyledger-At-Least"] = at_least
        return await self._client.get(f"{origin}/v1/auth/verify", headers=headers)

    async def list(self, *, at_least: str, origin: str) -> httpx2.Response:
        """Ask the directory for a page of keys."""
        headers = {"Authorization": f"Bearer {self.by}", "Keyledger-At-Least": at_least}
        return await self._client.get(f"{origin}/v1/api-keys", headers=headers)


async def live(clients: ClientLedger, chance: random.Random, enough: Callable[[], bool], *, writers: int = 8) -> None:
    """Let writers make, change, rotate and revoke keys of their own until ``enough()``.

    AssertionError if that never comes: what was to happen under load, as a kill at a named place, did not happen.
    """
    writing = (_write(clients, random.Random(chance.random()), enough) for _ in range(writers))
    try:
        async with asyncio.timeout(LONGEST_LOAD_SECONDS):
            await asyncio.gather(*writing)
    except TimeoutError:
        raise AssertionError(f"what was waited for has not come in {LONGEST_LOAD_SECONDS:.0f} s of writing") from None


async def live_for(clients: ClientLedger, chance: random.Random, number: int, *, writers: int = 8) -> None:
    """Let writers write until so many more writes are answered."""
    enough = clients.count("ok") + number
    await live(clients, chance, lambda: clients.count("ok") >= enough, writers=writers)


async def live_until_it_stands(
    clients: ClientLedger, chance: random.Random, service: Served, *, writers: int = 8
) -> None:
    """Let writers write until a service stands still at its failpoint."""
    await live(clients, chance, lambda: service.stands_still or not service.runs, writers=writers)
    assert service.runs, service.last_words()


async def live_through(
    clients: ClientLedger, chance: random.Random, breaking: Coroutine[Any, Any, None], *, writers: int
) -> None:
    """Let writers write until ``breaking`` is done; also a fault that falls ends the writing, and is raised."""
    broken = asyncio.create_task(breaking)
    await live(clients, chance, broken.done, writers=writers)
    await broken


async def until_answered(clients: ClientLedger, number: int, *services: Served, refused: int = 0) -> None:
    """Return once so many more writes were answered, and refused or lost, than now; AssertionError as ``until``."""

    def refusals() -> int:
        return clients.count("failed") + clients.count("unknown")

    enough, enough_refused = clients.count("ok") + number, refusals() + refused
    await until(
        lambda: clients.count("ok") >= enough and refusals() >= enough_refused,
        f"{number} more writes are answered and {refused} refused",
        *services,
    )


async def _write(clients: ClientLedger, chance: random.Random, enough: Callable[[], bool]) -> None:
    mine: list[HeldKey] = []
    while not enough():
        carried_out = (await _step(clients, chance, mine)).state == "ok"
        await asyncio.sleep(clients.pause_seconds if carried_out else PAUSE_SECONDS)
        mine = [key for key in mine if not key.revoked and not key.doubtful]


async def _step(clients: ClientLedger, chance: random.Random, mine: list[HeldKey]) -> Write:
    turn = chance.random()
    if len(mine) < 2 or (turn < 0.4 and len(mine) < MOST_KEYS):
        return await _create(clients, chance, mine)
    key = chance.choice(mine)
    path, idempotency_key = f"/v1/api-keys/{key.id}", _idempotency_key(chance)
    if turn < 0.6:
        name = f"renamed {chance.getrandbits(32):08x}"
        write = await clients.send("PATCH", path, {"name": name}, idempotency_key=idempotency_key)
    elif turn < 0.8:
        write = await clients.send("POST", f"{path}/rotate", idempotency_key=idempotency_key)
        if write.state == "ok":
            key.old_tokens.append(key.token)
            key.token = write.answer["key"]
    else:
        write = await clients.send("DELETE", path, idempotency_key=idempotency_key)
        key.revoked = write.state == "ok"
    key.doubtful = write.state == "unknown"
    return write


async def _create(clients: ClientLedger, chance: random.Random, mine: list[HeldKey]) -> Write:
    body = {"name": f"made {chance.getrandbits(32):08x}", "role": "developer"}
    write = await clients.send("POST", "/v1/api-keys", body, idempotency_key=_idempotency_key(chance))
    if write.state == "ok":
        key = HeldKey(write.answer["id"], write.answer["key"])
        mine.append(key)
        clients.keys.append(key)
    return write


def _idempotency_key(chance: random.Random) -> str | None:
    """Return that a write has an idempotency key, or none: a commit is found again by other means then."""
    return None if chance.random() < WITHOUT_KEY else ""


def _take_down(write: Write, answer: httpx2.Response) -> None:
    body = answer.json() if answer.content.startswith(b"{") else {}
    write.status, write.answered_at = answer.status_code, time.monotonic()
    if answer.is_success:
        write.state, write.answer = "ok", body
        write.token = answer.headers["Keyledger-Position"]
        write.replayed = answer.headers.get("Idempotency-Replayed") == "true"
        return
    write.code = str(body.get("code", ""))
    write.doubted |= write.code == "outcome-unknown" or answer.status_code in _OPEN_STATUSES
    write.state = "unknown" if write.doubted else "failed"
