"""``keyledger projections`` and ``keyledger parked``: read models as an operator sees them, while others serve them."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Final

import typer

from keyledger.domain.times import moment
from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.rebuilding import NotNow, Rebuildable, rebuild
from keyledger.runtime.process import Process
from keyledger_anomalies.build import rebuildable as alerts
from keyledger_directory.build import rebuildable as directory
from keyledger_standalone.subcommands import carry_out
from keyledger_verification.build import rebuildables as indexes

DIFFERS: Final = 1
STILL_PARKED: Final = 1
NO_SUCH: Final = 2
NOT_TAKEN: Final = 3
LOOK_SECONDS: Final = 0.2

projections = typer.Typer(help="The read models: how far they are, and building one anew while it serves.")
parked = typer.Typer(help="Events that could not be folded, and wait.")

Name = Annotated[str, typer.Argument(help="As `keyledger projections list` shows it; `verification` means all nodes'.")]
Switch = Annotated[bool, typer.Option("--switch", help="Switch also where what was built differs from what serves.")]
Wait = Annotated[float, typer.Option("--wait", help="How many seconds to wait for the process that serves it.")]
Streams = Annotated[list[str] | None, typer.Argument(help="As `keyledger parked list` shows them; none: all.")]


@projections.command(name="list")
def list_projections() -> None:
    """Show each read model's generations: position, how far behind the log, what is parked, where it is kept."""
    carry_out(_list_projections)


@projections.command(name="rebuild")
def rebuild_projection(name: Name, *, switch: Switch = False, wait: Wait = 30.0) -> None:
    """Build a read model anew from the log, compare it with the one that serves, and let it take over.

    Exit code 1: they differ, and nothing was switched; 3: nobody serves it now, so it takes over at the next start.
    """
    carry_out(lambda process: _rebuild(process, name, agreed=switch, wait_seconds=wait))


@projections.command(name="discard")
def discard_builds(name: Name) -> None:
    """Delete what was built and does not serve."""
    carry_out(lambda process: _discard(process, name))


@parked.command(name="list")
def list_parked() -> None:
    """Show what is parked: the first event that waits, since when, how many wait, how often it was tried, and why."""
    carry_out(_list_parked)


@parked.command(name="retry")
def retry_parked(streams: Streams = None, *, wait: Wait = 30.0) -> None:
    """Ask the processes that serve to fold parked streams again.

    Exit code 1: some are still parked; 3: nobody serves now; it is tried at the next start anyway.
    """
    carry_out(lambda process: _retry_parked(process, streams or (), wait_seconds=wait))


@asynccontextmanager
async def _read_models(process: Process, name: str = "") -> AsyncIterator[Sequence[Rebuildable]]:
    """Give those of this name, which may leave out the node's; all for no name."""
    async with process.event_log() as log:
        found: list[Rebuildable] = [directory(process, log), alerts(process, log), *indexes(process, log)]
        try:
            yield [one for one in found if not name or name in (one.name, one.name.partition("@")[0])]
        finally:
            for one in found:
                await one.close()


async def _each(process: Process, name: str, do: Callable[[Rebuildable], Awaitable[int]]) -> int:
    """Do it with those of this name; return the worst exit code."""
    async with _read_models(process, name) as chosen:
        if not chosen:
            typer.echo(f"there is no read model {name}: see `keyledger projections list`")
            return NO_SUCH
        codes = []
        for one in chosen:
            try:
                codes.append(await do(one))
            except NotNow as error:
                typer.echo(str(error))
                codes.append(NO_SUCH)
            except CheckpointMoved:
                typer.echo(f"{one.name}: another rebuild of it runs, or it was switched meanwhile: try again")
                codes.append(NO_SUCH)
        return max(codes)


async def _list_projections(process: Process) -> int:
    lines = [("NAME", "GENERATION", "STATE", "POSITION", "BEHIND", "PARKED", "STORE")]
    async with _read_models(process) as found:
        for one in found:
            statuses = await one.statuses()
            head = await one.head() if statuses else 0
            lines += [
                (
                    one.name,
                    str(status.generation),
                    status.state,
                    str(status.position),
                    str(max(0, head - status.position)),
                    str(status.parked),
                    one.place,
                )
                for status in statuses
            ]
    _table(lines)
    return 0


async def _rebuild(process: Process, name: str, *, agreed: bool, wait_seconds: float) -> int:
    async def one(store: Rebuildable) -> int:
        outcome = await rebuild(store, agreed=agreed, say=typer.echo, clock=process.clock, wait_seconds=wait_seconds)
        match outcome:
            case "switched":
                typer.echo(f"{store.name}: serves what was built now")
                return 0
            case "offered":
                typer.echo(f"{store.name}: nobody serves it now; what was built takes over at the next start")
                return NOT_TAKEN
            case "differs":
                typer.echo(f"{store.name}: nothing was switched: --switch takes what was built, `discard` deletes it")
                return DIFFERS

    return await _each(process, name, one)


async def _discard(process: Process, name: str) -> int:
    async def one(store: Rebuildable) -> int:
        gone = await store.discard()
        typer.echo(f"{store.name}: deleted {', '.join(map(str, gone))}" if gone else f"{store.name}: nothing was there")
        return 0

    return await _each(process, name, one)


async def _list_parked(process: Process) -> int:
    lines = [("PROJECTION", "STREAM", "POSITION", "VERSION", "TYPE", "SINCE", "WAITING", "TRIES", "REASON")]
    async with _read_models(process) as found:
        for one in found:
            lines += [
                (
                    one.name,
                    mark.stream,
                    str(mark.position),
                    str(mark.version),
                    mark.type,
                    f"{moment(mark.recorded_at):%Y-%m-%dT%H:%M:%SZ}",
                    str(mark.waiting),
                    str(mark.tries),
                    mark.reason,
                )
                for mark in (await one.parked()).values()
            ]
    if len(lines) == 1:
        typer.echo("nothing is parked")
    else:
        _table(lines)
    return 0


async def _retry_parked(process: Process, streams: Sequence[str], *, wait_seconds: float) -> int:
    codes = []
    async with _read_models(process) as found:
        for one in found:
            before = await one.parked()
            asked = {stream: mark for stream, mark in before.items() if not streams or stream in streams}
            if asked:
                await one.request_retry(asked)
                typer.echo(f"{one.name}: {len(asked)} to be folded again")
                tries = {stream: mark.tries for stream, mark in asked.items()}
                codes.append(await _retried(process, one, tries, wait_seconds))
    if not codes:
        typer.echo("nothing of that is parked" if streams else "nothing is parked")
    return max(codes, default=0)


async def _retried(process: Process, store: Rebuildable, tries: dict[str, int], wait_seconds: float) -> int:
    """Wait until each was tried; return the exit code."""
    deadline = process.clock.monotonic() + wait_seconds
    while process.clock.monotonic() < deadline:
        now = await store.parked()
        untried = [stream for stream, count in tries.items() if stream in now and now[stream].tries == count]
        if not untried:
            still = [now[stream] for stream in tries if stream in now]
            for mark in still:
                typer.echo(f"{store.name}: {mark.stream} is still parked at position {mark.position}: {mark.reason}")
            typer.echo(f"{store.name}: {len(tries) - len(still)} of {len(tries)} are parked no more")
            return STILL_PARKED if still else 0
        await process.clock.sleep(LOOK_SECONDS)
    typer.echo(f"{store.name}: nobody serves it now; what is parked is tried at the next start")
    return NOT_TAKEN


def _table(lines: Sequence[tuple[str, ...]]) -> None:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())
