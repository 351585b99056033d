"""``keyledger topics``: the log's topics as they must be, and filled from the ledger."""

from typing import Final

import typer

from keyledger.contracts.topics import TOPICS
from keyledger.runtime.process import Process
from keyledger_relay.ends import ForeignTopic
from keyledger_relay.refilling import empty_topics
from keyledger_standalone.subcommands import carry_out

FOREIGN: Final = 1

topics = typer.Typer(invoke_without_command=True)


@topics.callback()
def check_topics(context: typer.Context) -> None:
    """Create the topics that are missing, and check those that are there."""
    if context.invoked_subcommand is None:
        carry_out(_check)


@topics.command(name="refill")
def refill_topics() -> None:
    """Empty both ledger topics, for the relay to fill them again: what mends a reader that stops at a gap or a forgery.

    Nothing is lost: the ledger holds all of it. Exit code 1: a topic ends with a fact that this ledger does not hold,
    and nothing was emptied.
    """
    carry_out(_refill)


async def _check(process: Process) -> int:
    async with process.event_log() as event_log:
        await event_log.ensure_topics(TOPICS)
    typer.echo(f"{len(TOPICS)} topics are there, as they must be")
    return 0


async def _refill(process: Process) -> int:
    async with process.ledger() as ledger, process.event_log() as event_log:
        head = await ledger.head()
        try:
            await empty_topics(event_log, ledger)
        except ForeignTopic as foreign:
            typer.echo(str(foreign))
            return FOREIGN
    typer.echo(f"both ledger topics are empty; the relay fills them with {head.position} events")
    return 0
