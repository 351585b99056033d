"""Those who send commands and ask for verdicts, and what they were told."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, get_args

from msgspec import Struct, field

from keyledger.contracts.registry import encode
from keyledger.domain import keys
from keyledger.domain.events import KeyEvent, Secret
from keyledger.domain.identifiers import resource_id
from keyledger.domain.times import moment
from keyledger.eventstore.port import (
    Append,
    IdempotencyClaim,
    LedgerUnavailable,
    MalformedAppend,
    OutcomeUnknown,
    VersionConflict,
)
from keyledger.verification.token import mint, secret_of
from tests.simulation.clock import true_time
from tests.simulation.faults import World, give
from tests.simulation.history import ORGANIZATION, TEAM, key_of
from tests.simulation.ledger import REFUSED, SimulatedLedger
from tests.simulation.peppers import PEPPERS
from tests.simulation.system import System

Kind = Literal["create", "rotate", "finish", "rename", "disable", "enable", "revoke", "malformed"]
Outcome = Literal["open", "acknowledged", "unchanged", "refused", "not written", "unknown"]

ATTEMPTS: Final = 5
SENDINGS: Final = 3
KEYS: Final = 3


class Order(Struct):
    """One command and what its caller knows of it. Times are virtual seconds."""

    number: int
    kind: Kind
    key_id: str
    claim: IdempotencyClaim | None = None
    began: float = 0.0
    ended: float = float("inf")
    outcome: Outcome = "open"
    position: int = 0
    appends: list[Append] = field(default_factory=list)
    refused: set[str] = field(default_factory=set)
    """The append ids of which the ledger said that they were not written."""
    grace_seconds: int = 0
    secret_id: str | None = None
    """Of the secret that it makes."""


class Issued(Struct, frozen=True):
    """A token that was handed out, whatever became of the command."""

    token: str
    key_id: str
    secret_id: str


class Callers:
    """Who sends commands to whichever process takes them. They do not die."""

    def __init__(self, system: System, commands: list[str]) -> None:
        self._system, self._world, self._commands = system, system.world, commands
        self.orders: list[Order] = []
        self.tokens: list[Issued] = []
        self._busy: set[asyncio.Task[None]] = set()

    def send(self, kind: Kind | None = None) -> None:
        """Send a command, and have somebody wait for its answer."""
        random, number = self._world.random, len(self.orders) + 1
        chosen: Kind = kind or random.choices(get_args(Kind), (5, 3, 1, 4, 1, 1.5, 3, 0.5))[0]
        order = Order(number, chosen, resource_id("key", random.randint(1, KEYS)))
        if kind is not None:
            order.key_id = resource_id("key", KEYS + number)  # a key of its own: it changes something in any case
        if chosen == "rotate":
            order.grace_seconds = random.choice((0, 0, 2, 10))
        if chosen != "malformed" and self._world.chance(0.4):
            order.claim = IdempotencyClaim(b"scope %d" % number, b"request", 200)
        self.orders.append(order)
        task = self._world.loop.create_task(self._carry(order))
        self._busy.add(task)
        task.add_done_callback(self._finished)

    @property
    def waiting(self) -> list[int]:
        """The numbers of the orders that have no answer yet."""
        return [order.number for order in self.orders if order.outcome == "open"]

    def _finished(self, task: "asyncio.Task[None]") -> None:
        self._busy.discard(task)
        task.result()

    async def _carry(self, order: Order) -> None:
        order.began = self._world.now()
        outcome: Outcome = "not written"
        for _ in range(SENDINGS if order.claim else 1):
            told = await self._sent(order)
            # What one sending left unknown stays unknown, unless a later one is told what became of it.
            outcome = "unknown" if outcome == "unknown" and told in ("not written", "refused") else told
            if outcome not in ("unknown", "not written"):
                break
            await asyncio.sleep(self._world.between(0.1, 2.0))
        order.ended = self._world.now()
        order.outcome = outcome
        self._world.note(f"order-{order.number}", outcome, f"{order.kind} {order.key_id[-3:]} {order.position}")

    async def _sent(self, order: Order) -> Outcome:
        there = [name for name in self._commands if self._system.alive(name) and name in self._system.running]
        name = self._world.random.choice(there or self._commands)
        process, ledger = self._system.slots[name].current, self._system.running.get(name)
        if process is None or ledger is None:
            await asyncio.sleep(0.2)
            return "not written"
        answer: asyncio.Future[Outcome] = self._world.loop.create_future()
        task = self._world.loop.spawn(process, handle(self._world, ledger, order, self.tokens))
        task.add_done_callback(lambda done: _pass_on(done, answer), context=self._system.outside)
        process.at_death.append(lambda: give(answer, "unknown"))
        return await answer


def _pass_on(done: "asyncio.Task[Outcome]", answer: "asyncio.Future[Outcome]") -> None:
    error = done.exception()
    give(answer, done.result() if error is None else None, error)


async def handle(  # noqa: PLR0911 - one for each answer there is
    world: World, ledger: SimulatedLedger, order: Order, tokens: list[Issued]
) -> Outcome:
    """Load, decide, append; again when others were faster: what a command's route does."""
    for _ in range(ATTEMPTS):
        try:
            if order.claim is not None and (replay := await ledger.find_replay(order.claim)) is not None:
                order.position = replay.position
                return "acknowledged"
            rows = (await ledger.load([order.key_id]))[order.key_id]
            decided = _decide(world, key_of(rows), order, tokens)
        except LedgerUnavailable:
            return "not written"
        except (keys.KeyNotFound, keys.KeyRefused):
            return "refused"
        append = _append(world, order, decided, len(rows))
        order.appends.append(append)
        try:
            outcome = await ledger.append(append)
        except VersionConflict:
            order.refused.add(append.append_id)
            continue
        except LedgerUnavailable:
            order.refused.add(append.append_id)
            return "not written"
        except MalformedAppend:
            order.refused.add(append.append_id)
            return "refused"
        except OutcomeUnknown:
            return "unknown"
        order.position = outcome.position
        return "acknowledged" if decided else "unchanged"
    return "refused"


def _decide(world: World, key: keys.Key, order: Order, tokens: list[Issued]) -> list[KeyEvent]:
    match order.kind:
        case "create":
            secret = _secret(world, order, tokens)
            return keys.decide(
                key,
                keys.CreateKey(
                    organization_id=ORGANIZATION,
                    key_id=order.key_id,
                    type="team",
                    owner_id=TEAM,
                    name=f"key of order {order.number}",
                    description="",
                    role="viewer",
                    environment="dev",
                    expires_at=None,
                    secret=secret,
                    at=_NO_TIME,
                ),
            )
        case "rotate":
            secret, at = _secret(world, order, tokens), moment(true_time(world))
            return keys.decide(
                key, keys.RotateKey(key_id=order.key_id, secret=secret, at=at, grace_seconds=order.grace_seconds)
            )
        case "finish" | "disable" | "enable":
            return keys.decide(key, _ON_A_KEY[order.kind](order.key_id))
        case "rename" | "malformed":
            return keys.decide(key, keys.UpdateKey(key_id=order.key_id, at=_NO_TIME, name=f"name {order.number}"))
        case "revoke":
            return keys.decide(key, keys.RevokeKey(order.key_id))


def _secret(world: World, order: Order, tokens: list[Issued]) -> Secret:
    random = world.random.randbytes(20)
    token = mint("dev", order.key_id, random)
    pepper, digest = PEPPERS.digest(ORGANIZATION, secret_of(token))
    order.secret_id = random[:8].hex()
    tokens.append(Issued(token, order.key_id, order.secret_id))
    return Secret(id=order.secret_id, digest=digest, pepper=pepper)


def _append(world: World, order: Order, decided: list[KeyEvent], version: int) -> Append:
    return Append(
        append_id=world.random.randbytes(16).hex(),
        organization_id=ORGANIZATION,
        stream=order.key_id,
        expected_version=version,
        events=tuple(encode(event) for event in decided),
        request_id=REFUSED if order.kind == "malformed" else f"order {order.number}",
        guards={TEAM: 1},
        idempotency=order.claim,
    )


_ON_A_KEY: Mapping[str, Callable[[str], keys.KeyCommand]] = {
    "finish": keys.FinishRotation,
    "disable": keys.DisableKey,
    "enable": keys.EnableKey,
}
_NO_TIME: Any = None
