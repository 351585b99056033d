"""What a topic holds, as the relay was told: by it the relay notices what was lost while it runs."""

from msgspec import Struct

from keyledger.eventlog.port import EventLog
from keyledger_relay.ends import read_on
from keyledger_relay.feeds import Feed


class TopicChanged(Exception):
    """A topic is not what the log had acknowledged: the relay looks at it anew.

    ``may_lack_records``: in the middle, which its ends alone do not show.
    """

    def __init__(self, feed: Feed, why: str, *, may_lack_records: bool) -> None:
        super().__init__(f"{feed.topic}: {why}")
        self.feed, self.may_lack_records = feed, may_lack_records


class Held(Struct):
    """One topic: it holds everything up to ``position``, and the next record's offset is ``next_offset`` at least."""

    feed: Feed
    position: int
    first_offset: int
    next_offset: int

    async def wrote(self, log: EventLog, position: int, count: int, last_offset: int) -> None:
        """Take note of ``count`` acknowledged records up to ``position``, of which the last has this offset.

        Raises:
            TopicChanged: they do not stand where they must.
            LogUnavailable: what somebody else wrote before them cannot be read.
        """
        began = last_offset + 1 - count
        if began < self.next_offset:
            why = f"offset {self.next_offset - 1} was acknowledged before, and now {began}: records were lost"
            raise TopicChanged(self.feed, why, may_lack_records=True)
        if not self.position and began > self.next_offset:
            raise TopicChanged(self.feed, "somebody wrote to it while it was empty", may_lack_records=False)
        if began > self.next_offset:
            await self._look_between(log, began)
        self.position, self.next_offset = position, last_offset + 1

    async def look_up_to(self, log: EventLog, found: "Held") -> None:
        """Look at what came behind our end until the topic was found as it is: our own answers may have been lost.

        Raises:
            TopicChanged: it lacks records there.
            LogUnavailable, OffsetOutOfRange: try again.
        """
        if found.first_offset == self.first_offset and found.next_offset > self.next_offset:
            await self._look_between(log, found.next_offset)

    async def _look_between(self, log: EventLog, began: int) -> None:
        """Look at what another relay wrote, or an attempt of ours that was given up: behind our end it is a resend.

        In a topic that is being filled again it may be what comes much later: then no reader gets past it.
        """
        _, why = await read_on(log, self.feed, self.next_offset, began, self.position)
        if why:
            raise TopicChanged(self.feed, f"somebody else wrote: {why}", may_lack_records=True)

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
            raise TopicChanged(self.feed, why, may_lack_records=False)
