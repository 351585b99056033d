"""``python -m keyledger_relay``: the relay as a process of its own."""

import sys

from keyledger.runtime.process import Process, run
from keyledger.runtime.serving import serve
from keyledger_relay.build import build


async def relay(process: Process) -> int:
    """Open the ledger and the log, relay until told to stop, and return the exit code."""
    async with process.ledger() as ledger, process.event_log() as event_log:
        service = build(process, ledger, event_log)
        return await serve(service, process.settings, registry=process.registry)


def main() -> int:
    """Return the process's exit code."""
    return run("keyledger_relay", relay)


if __name__ == "__main__":
    sys.exit(main())
