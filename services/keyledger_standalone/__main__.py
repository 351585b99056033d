"""The ``keyledger`` command."""

import sys
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

import typer

from keyledger.eventstore.migrating import migrate as migrate_ledger
from keyledger.eventstore.verifying import ChainBroken, verify_chain
from keyledger.runtime.masters import open_peppers
from keyledger.runtime.process import Process, run
from keyledger_commands.bootstrap import bootstrap as bootstrap_ledger
from keyledger_standalone.read_models import parked, projections
from keyledger_standalone.serving import serve_standalone
from keyledger_standalone.topics import topics

app = typer.Typer(
    help="API keys that are verified next to the caller, revoked provably, and watched. "
    "Settings are environment variables KEYLEDGER_*; see the README.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(projections, name="projections", no_args_is_help=True)
app.add_typer(parked, name="parked", no_args_is_help=True)
app.add_typer(topics, name="topics")


def _run(work: Callable[[Process], Coroutine[Any, Any, int]]) -> None:
    raise typer.Exit(run("keyledger", work))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


@app.command()
def serve() -> None:
    """Run everything in one process, by default on http://127.0.0.1:8700."""
    _run(serve_standalone)


@app.command()
def migrate() -> None:
    """Bring the ledger's database to the form that this version needs."""
    _run(_migrate)


@app.command()
def bootstrap() -> None:
    """Make the first organization, its administrator and the root key, if the ledger has none."""
    _run(_bootstrap)


@app.command()
def verify_ledger() -> None:
    """Read the whole ledger and check its order and its chain of hashes."""
    _run(_verify_ledger)


@app.command(name="version")
def show_version() -> None:
    """Print the version."""
    _say(version("keyledger"))


async def _verify_ledger(process: Process) -> int:
    async with process.ledger() as ledger:
        try:
            head = await verify_chain(ledger)
        except ChainBroken as broken:
            _say(f"the ledger was changed: {broken}")
            return 1
    _say(f"the ledger is whole up to position {head.position}; its last hash is {head.hash.hex()}")
    return 0


async def _migrate(process: Process) -> int:
    await migrate_ledger(process.settings.ledger_url)
    _say("the ledger's database is up to date")
    return 0


async def _bootstrap(process: Process) -> int:
    peppers = open_peppers(process.settings)
    async with process.ledger() as ledger:
        made = await bootstrap_ledger(ledger, peppers, process.randomness, process.clock, process.settings.data_dir)
    _say("the ledger has its first organization already" if made is None else f"the root key is in {made}")
    return 0


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
