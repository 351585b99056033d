"""``python -m keyledger_relay``: the relay as a process of its own."""

import asyncio
import sys

from prometheus_client import CollectorRegistry

from keyledger.eventlog.opening import open_log
from keyledger.eventstore.opening import open_ledger
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.runtime.logging import configure_logging
from keyledger.runtime.serving import serve
from keyledger.runtime.settings import Settings, read_settings
from keyledger_relay.build import build


def main() -> int:
    """Return the process's exit code."""
    settings = read_settings()
    configure_logging(settings.log_level, settings.log_format)
    return asyncio.run(relay(settings))


async def relay(settings: Settings) -> int:
    """Open the ledger and the log, relay until told to stop, and return the exit code."""
    clock = SystemClock()
    registry = CollectorRegistry()
    ledger = await open_ledger(settings.ledger_url, clock=clock)
    try:
        event_log = await open_log(settings.log_url)
        try:
            service = build(ledger, event_log, clock=clock, randomness=SystemRandomness(), registry=registry)
            return await serve(service, settings, registry=registry)
        finally:
            await event_log.close()
    finally:
        await ledger.close()


if __name__ == "__main__":
    sys.exit(main())
