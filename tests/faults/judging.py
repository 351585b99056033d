"""The whole oracle on one installation, once nothing is broken any more."""

from collections.abc import Awaitable, Callable
from functools import partial

import httpx2

from keyledger.web.positions import position_tokens
from tests.faults.campaign import Outcome
from tests.faults.clients import ClientLedger
from tests.faults.oracle.ledger import ledger_violations
from tests.faults.oracle.read_models import directory_violations, index_violations
from tests.faults.oracle.topics import alert_violations, topic_violations
from tests.faults.oracle.verdicts import verdict_violations
from tests.faults.processes import Served, World
from tests.faults.waiting import until, until_none


async def judge_ledger(world: World, clients: ClientLedger, *, faults: int) -> Outcome:
    """Return the outcome by the ledger alone: what was answered is in it, once and in order.

    What nobody knows of must be there once or never; and once, when it was sent again with its idempotency key.
    """
    outcome = outcome_of(clients, faults)
    async with world.ledger() as ledger:
        outcome.violations += await ledger_violations(ledger, clients.writes, world.peppers)
        await clients.resolve()
        outcome.violations += await ledger_violations(ledger, clients.writes, world.peppers)
    return outcome


async def judge_all(
    world: World,
    clients: ClientLedger,
    *,
    faults: int,
    verifier: Served | None = None,
    directory: Served | None = None,
    alerts: bool = True,
) -> Outcome:
    """Return the outcome by everything: ledger, topics, verdicts, rebuilt read models and, if asked for, alerts.

    Every service must be there again; a verifier or directory that there is none of is not judged.
    """
    outcome = await judge_ledger(world, clients, faults=faults)
    async with world.ledger() as ledger, world.log() as log:
        head = await ledger.head()
        at_least = position_tokens(ledger.store_id, world.peppers).write(head.position)
        await until_caught_up(clients, at_least, verifier, directory)
        violations = await topic_violations(ledger, log)
        if verifier is not None:
            violations += await verdict_violations(clients, at_least=at_least, origin=verifier.origin)
            violations += await index_violations(
                world.settings, log, verifier.node, head=head.position, folder=world.folder
            )
        if directory is not None:
            violations += await directory_violations(world.settings, log, head=head.position, folder=world.folder)
        if alerts:
            # The detector may still be reading the last attempts.
            violations += await until_none(partial(alert_violations, log))
    outcome.violations += violations
    return outcome


def outcome_of(clients: ClientLedger, faults: int) -> Outcome:
    """Return what these clients know now."""
    return Outcome(faults, clients.count("ok"), clients.count("failed"), clients.count("unknown"))


async def until_caught_up(
    clients: ClientLedger, at_least: str, verifier: Served | None, directory: Served | None
) -> None:
    """Return once both have applied the position of the token ``at_least``."""
    if verifier is not None:
        ask = partial(clients.verify, clients.by, at_least=at_least, origin=verifier.origin)
        await _until_success(ask, "the verifier has applied the ledger's head", verifier)
    if directory is not None:
        ask = partial(clients.list, at_least=at_least, origin=directory.origin)
        await _until_success(ask, "the directory has applied the ledger's head", directory)


async def _until_success(ask: Callable[[], Awaitable[httpx2.Response]], what: str, service: Served) -> None:
    """Return once it answers; AssertionError with what it answered instead."""
    answer: httpx2.Response | None = None

    async def answers() -> bool:
        nonlocal answer
        answer = await ask()
        return answer.is_success

    try:
        await until(answers, what, service)
    except AssertionError as error:
        last = "nothing" if answer is None else f"{answer.status_code} {answer.text}"
        raise AssertionError(f"{error}; it answered {last}; its log ends: {service.last_words()}") from None
