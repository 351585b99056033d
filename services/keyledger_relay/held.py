"""What a topic holds, as the relay was told: by it the relay notices what was lost while it runs."""

from msgspec import Struct

from keyledger.eventlog.port import EventLog
from keyledger_relay.feeds import Feed


class TopicChanged(Exception):
    """A topic is not what the log had acknowledged: the relay looks at it anew.

    ``lacks_records``: more was written behind what was lost, so that its end alone does not show it.
    """

    def __init__(self, feed: Feed, why: str, *, lacks_records: bool) -> None:
        super().__init__(f"{feed.topic}: {why}")
        self.feed, self.lacks_records = feed, lacks_records


class Held(Struct):
    """One topic: it holds everything up to ``position``, and the next record's offset is ``next_offset`` at least."""

    feed: Feed
    position: int
    first_offset: int
    next_offset: int

    def wrote(self, position: int, count: int, last_offset: int) -> None:
        """Take note of ``count`` acknowledged records up to ``position``, of which the last has this offset.

        Raises:
            TopicChanged: they do not stand where they must.
        """
        began = last_offset + 1 - count
        if began < self.next_offset:
            why = f"offset {self.next_offset - 1} was acknowledged before, and now {began}: records were lost"
            raise TopicChanged(self.feed, why, lacks_records=True)
        if not self.position and began > self.next_offset:
            raise TopicChanged(self.feed, "somebody wrote to it while it was empty", lacks_records=False)
        self.position, self.next_offset = position, last_offset + 1

    async def look(self, log: EventLog) -> None:
        """Compare with where the topic begins and ends now.

        Raises:
            TopicChanged: it was truncated, at either end, or made anew.
            LogUnavailable: try again.
        """
        acknowledged = self.next_offset  # before it is asked: a batch may be on its way
        first, end = await log.bounds(self.feed.topic, 0)
        if first > self.first_offset or end < acknowledged:
            why = f"it held offsets {self.first_offset} to {acknowledged - 1}, and now {first} to {end - 1}"
            raise TopicChanged(self.feed, why, lacks_records=False)
