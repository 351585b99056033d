"""What each subcommand of ``keyledger`` does."""

from collections.abc import Callable, Coroutine
from typing import Any

import typer

from keyledger.runtime.process import Process, run


def carry_out(work: Callable[[Process], Coroutine[Any, Any, int]]) -> None:
    """Do the work, with the settings of this process, and end with the exit code that it returns."""
    raise typer.Exit(run("keyledger", work))
