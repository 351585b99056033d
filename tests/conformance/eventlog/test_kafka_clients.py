"""A Kafka client whose start nobody waits for any more is ended, however often it is given up."""

import asyncio
from contextlib import suppress

import pytest

from keyledger.eventlog.kafka.clients import Cluster
from keyledger.eventlog.kafka_security import PLAINTEXT


class NeverStarting:
    """A client of a broker that does not answer; ``begun`` and ``ended``: what was asked of it."""

    def __init__(self) -> None:
        self.begun, self.starting, self.ended = asyncio.Event(), False, False

    async def start(self) -> None:
        self.starting = True
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.starting = False

    async def stop(self) -> None:
        self.ended = True


@pytest.mark.parametrize("times", [1, 2])
async def test_a_start_that_is_given_up_and_hurried_leaves_nothing_running(times: int) -> None:
    client = NeverStarting()
    starting = asyncio.create_task(Cluster("127.0.0.1:1", PLAINTEXT, 60).start(client))
    await client.begun.wait()
    for _ in range(times):
        starting.cancel()
        for _ in range(5):
            await asyncio.sleep(0)
    with suppress(asyncio.CancelledError):
        await starting
    assert starting.cancelled()
    assert (client.starting, client.ended) == (False, True)
