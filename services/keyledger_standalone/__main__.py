"""The ``keyledger`` command."""

from importlib.metadata import version

import typer

from keyledger.eventstore.migrating import migrate as migrate_ledger
from keyledger.eventstore.verifying import ChainBroken, verify_chain
from keyledger.runtime.masters import open_peppers
from keyledger.runtime.process import Process
from keyledger_commands.bootstrap import bootstrap as bootstrap_ledger
from keyledger_standalone.read_models import parked, projections
from keyledger_standalone.serving import serve_standalone
from keyledger_standalone.subcommands import carry_out
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


@app.command()
def serve() -> None:
    """Run everything in one process, by default on http://127.0.0.1:8700."""
    carry_out(serve_standalone)


@app.command()
def migrate() -> None:
    """Bring the ledger's database to the form that this version needs."""
    carry_out(_migrate)


@app.command()
def bootstrap() -> None:
    """Make the first organization, its administrator and the root key, if the ledger has none."""
    carry_out(_bootstrap)


@app.command()
def verify_ledger() -> None:
    """Read the whole ledger and check its order and its chain of hashes."""
    carry_out(_verify_ledger)


@app.command(name="version")
def show_version() -> None:
    """Print the version."""
    typer.echo(version("keyledger"))


async def _verify_ledger(process: Process) -> int:
    async with process.ledger() as ledger:
        try:
            head = await verify_chain(ledger)
        except ChainBroken as broken:
            typer.echo(f"the ledger was changed: {broken}")
            return 1
    typer.echo(f"the ledger is whole up to position {head.position}; its last hash is {head.hash.hex()}")
    return 0


async def _migrate(process: Process) -> int:
    await migrate_ledger(process.settings.ledger_url)
    typer.echo("the ledger's database is up to date")
    return 0


async def _bootstrap(process: Process) -> int:
    peppers = open_peppers(process.settings)
    async with process.ledger() as ledger:
        made = await bootstrap_ledger(ledger, peppers, process.randomness, process.clock, process.settings.data_dir)
    typer.echo("the ledger has its first organization already" if made is None else f"the root key is in {made}")
    return 0


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
