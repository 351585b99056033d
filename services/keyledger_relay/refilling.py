"""Emptying the ledger topics on an operator's word, for the relay to fill them again."""

from keyledger.contracts.cloudevents import ledger_source
from keyledger.eventlog.port import EventLog
from keyledger.eventstore.port import Ledger
from keyledger_relay.ends import ForeignTopic, last_record
from keyledger_relay.feeds import FEEDS


async def empty_topics(log: EventLog, ledger: Ledger) -> None:
    """Empty both ledger topics, whatever they hold, unless they end with another ledger's record.

    A relay that runs notices within seconds and fills them; else the next one does.

    Raises:
        ForeignTopic: nothing was emptied.
        LogUnavailable: try again.
    """
    for feed in FEEDS:
        record = await last_record(log, feed.topic)
        source = b"" if record is None else dict(record.headers).get("ce_source", b"")
        if source.startswith(ledger_source("").encode()) and source != ledger_source(ledger.store_id).encode():
            raise ForeignTopic(f"{feed.topic} holds the facts of {source.decode()}: this ledger cannot fill it again")
    for feed in FEEDS:
        _, end = await log.bounds(feed.topic, 0)
        await log.trim(feed.topic, 0, end)
