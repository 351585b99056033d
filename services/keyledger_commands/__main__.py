"""``python -m keyledger_commands``: the command service as a process of its own."""

import sys

from keyledger.runtime.masters import open_peppers
from keyledger.runtime.process import Process, run
from keyledger.runtime.serving import serve
from keyledger.verification.auth_events import AuthEventSink
from keyledger_commands.bootstrap import bootstrap
from keyledger_commands.build import build

_BOOT_BYTES = 8


def main() -> int:
    """Return the process's exit code; what keeps it from starting is one line on standard error."""
    return run("keyledger_commands", commands)


async def commands(process: Process) -> int:
    """Open the ledger, see to its first organization, serve until told to stop, and return the exit code."""
    settings, clock, randomness = process.settings, process.clock, process.randomness
    peppers = open_peppers(settings)
    async with process.ledger() as ledger, process.event_log() as event_log:
        await bootstrap(ledger, peppers, randomness, clock, settings.data_dir)
        sink = AuthEventSink(event_log, node=settings.node, boot=randomness.token_hex(_BOOT_BYTES), clock=clock)
        service = build(
            process,
            ledger,
            sink,
            peppers=peppers,
            owns_sink=True,
        )
        return await serve(service, settings, registry=process.registry)


if __name__ == "__main__":
    sys.exit(main())
