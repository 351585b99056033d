"""Emptying the ledger topics on an operator's word, for the relay to fill them again."""

from keyledger.contracts.cloudevents import ledger_source
from keyledger.eventlog.last_record import last_record
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from keyledger_relay.ends import its_row
from keyledger_relay.feeds import FEEDS


async def empty_topics(log: EventLog, ledger: Ledger) -> None:
    """Empty both ledger topics, whatever they hold, unless they end with a fact that this ledger cannot give again.

    A relay that runs notices within seconds and fills them; else the next one does.

    Raises:
        ForeignTopic: that fact is of another ledger, or was lost when this one was restored; nothing was emptied.
        LogUnavailable, LedgerUnavailable: try again.
    """
    for feed in FEEDS:
        record = await last_record(log, feed.topic)
        if record is not None and dict(record.headers).get("ce_source", b"").startswith(ledger_source("").encode()):
            await its_row(ledger, feed, record)
    for feed in FEEDS:
        _, end = await log.bounds(feed.topic, 0)
        await log.trim(feed.topic, 0, end)
