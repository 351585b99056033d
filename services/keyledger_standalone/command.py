"""The ``keyledger`` command's first step: say what is missing where only the library is installed."""

import sys
from importlib.util import find_spec


def main() -> None:
    """Run the command line, or say which extra it needs."""
    if find_spec("typer") is None:
        sys.exit("keyledger: only the library is installed here; the command needs: pip install 'keyledger[server]'")
    from keyledger_standalone.__main__ import main as run_command  # noqa: PLC0415 - without the extra it cannot be imported

    run_command()
