"""Open whichever ledger a URL names."""

from keyledger.contracts.ports import Clock
from keyledger.eventstore.port import Ledger


async def open_ledger(url: str, *, clock: Clock) -> Ledger:
    """Return the ledger at ``postgresql://...`` or ``sqlite:///path``; its driver is imported only here.

    Raises:
        ValueError: the URL is of another kind.
        LedgerNotMigrated: the database is not in the form this version needs.
        LedgerUnavailable: it cannot be reached.
    """
    scheme = url.partition("://")[0]
    match scheme:
        case "postgresql":
            from keyledger.eventstore.postgres.ledger import PostgresLedger  # noqa: PLC0415 - only who uses it has it

            return await PostgresLedger.open(url, clock=clock)
        case "sqlite":
            from keyledger.eventstore.sqlite.ledger import SqliteLedger  # noqa: PLC0415 - alike

            return await SqliteLedger.open(url, clock=clock)
        case _:
            raise ValueError(f"a ledger's URL starts with postgresql:// or sqlite:///, not {scheme}://")
