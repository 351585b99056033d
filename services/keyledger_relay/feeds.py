"""The two topics that the relay fills, and how a row of the ledger looks on each."""

from collections.abc import Callable, Sequence
from typing import Final

from msgspec import Struct

from keyledger.contracts.cloudevents import Headers, private_record, published_record
from keyledger.contracts.envelope import Entry
from keyledger.contracts.topics import EVENTS, LEDGER
from keyledger.eventlog.port import NewRecord


class Feed(Struct, frozen=True):
    """One topic, the form of its records, and the headers that tell one row from every other row.

    ``identity``: what a record of this topic must have in common with the ledger's row at its position. On the
    published topic there is no hash, and its data may gain fields with a new version of Keyledger: there it is who
    asked for it and when it was recorded.
    """

    topic: str
    form: Callable[[Entry, str], tuple[Headers, bytes]]
    identity: tuple[str, ...]

    def records(self, entries: Sequence[Entry], store_id: str) -> list[NewRecord]:
        """Return one record for each row, in order.

        Raises:
            UndecodableEvent: a row cannot be given its published form.
        """
        records: list[NewRecord] = []
        for entry in entries:
            headers, value = self.form(entry, store_id)
            records.append(NewRecord(entry.header.stream.encode(), value, headers))
        return records


PRIVATE: Final = Feed(LEDGER.name, private_record, ("ce_hash",))
PUBLISHED: Final = Feed(EVENTS.name, published_record, ("ce_time", "ce_subject", "ce_requestid"))
FEEDS: Final = (PRIVATE, PUBLISHED)
