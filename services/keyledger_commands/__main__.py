"""``python -m keyledger_commands``: the command service as a process of its own."""

import asyncio
import sys

from prometheus_client import CollectorRegistry

from keyledger.eventlog.opening import open_log
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import LedgerNotMigrated, LedgerUnavailable
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.runtime.logging import configure_logging
from keyledger.runtime.masters import open_peppers
from keyledger.runtime.serving import serve
from keyledger.runtime.settings import InvalidSettings, Settings, read_settings
from keyledger.verification.auth_events import AuthEventSink
from keyledger_commands.bootstrap import bootstrap
from keyledger_commands.build import build

_BOOT_BYTES = 8


def main() -> int:
    """Return the process's exit code; what keeps it from starting is one line on standard error."""
    try:
        settings = read_settings()
        configure_logging(settings.log_level, settings.log_format)
        return asyncio.run(commands(settings))
    except (InvalidSettings, LedgerNotMigrated, LedgerUnavailable) as error:
        sys.stderr.write(f"keyledger_commands: {error}\n")
        return 2


async def commands(settings: Settings) -> int:
    """Open the ledger, see to its first organization, serve until told to stop, and return the exit code."""
    clock, randomness = SystemClock(), SystemRandomness()
    peppers = open_peppers(settings)
    registry = CollectorRegistry()
    ledger = await open_ledger(settings.ledger_url, clock=clock)
    try:
        await bootstrap(ledger, peppers, randomness, clock, settings.data_dir)
        event_log = await open_log(settings.log_url)
        try:
            sink = AuthEventSink(event_log, node=settings.node, boot=randomness.token_hex(_BOOT_BYTES), clock=clock)
            service = build(
                ledger,
                sink,
                peppers=peppers,
                settings=settings,
                clock=clock,
                randomness=randomness,
                registry=registry,
                owns_sink=True,
            )
            return await serve(service, settings, registry=registry)
        finally:
            await event_log.close()
    finally:
        await ledger.close()


if __name__ == "__main__":
    sys.exit(main())
