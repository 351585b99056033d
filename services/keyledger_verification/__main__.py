"""``python -m keyledger_verification``: a verifier node and its route as a process of its own."""

import sys

from keyledger.runtime.masters import open_peppers
from keyledger.runtime.process import Process, run
from keyledger.runtime.serving import serve
from keyledger_verification.build import build


def main() -> int:
    """Return the process's exit code; what keeps it from starting is one line on standard error."""
    return run("keyledger_verification", verification)


async def verification(process: Process) -> int:
    """Open the log and this node's index, serve until told to stop, and return the exit code."""
    peppers = open_peppers(process.settings)
    async with process.event_log() as event_log, process.verifier_node(event_log, peppers) as node:
        service = build(
            process,
            node,
            peppers=peppers,
        )
        return await serve(service, process.settings, registry=process.registry)


if __name__ == "__main__":
    sys.exit(main())
