"""Sending in order, also over a broker's death."""

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from typing import Any, Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from keyledger.eventlog.kafka.clients import Cluster, sends_no_more
from keyledger.eventlog.limits import MAX_RECORD_BYTES, check_records, made_of_bytes
from keyledger.eventlog.port import LogUnavailable, NewRecord

ABANDON_SECONDS: Final = 1.0


class Lane:
    """One partition: one batch at a time, and none while the fate of the one before it is open.

    An idempotent producer of aiokafka never gives up: what was not answered in time is still being sent, under its
    sequence number. Without this an outage would pile up a copy for each retry of the caller; and given to a new
    client instead, a later batch could be written before it.
    """

    def __init__(self) -> None:
        self.turn = asyncio.Lock()
        self.open: asyncio.Future[Any] | None = None
        self.client: Any = None


class KafkaProducer:
    """Idempotent, acks from all in-sync replicas, no linger. Partitions do not wait for each other."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._client: Any = None
        self._connecting = asyncio.Lock()
        self._retired: dict[Any, asyncio.Task[None]] = {}
        self._closed = False

    async def send(self, topic: str, partition: int, records: Sequence[NewRecord]) -> int:
        """Append as the port promises. A batch above 1 MB goes out in several, each once the one before is there."""
        if len(records) == 1 or not made_of_bytes(records):
            check_records(records)
        lane = self._lanes.setdefault((topic, partition), Lane())
        async with self._cluster.asked(f"sending to {topic}/{partition}"), lane.turn:
            await self._settle(lane)
            client = await self._connected()
            if partition not in await client.partitions_for(topic):
                raise LogUnavailable(f"{topic} has no partition {partition}: were its topics made?")
            offset = -1
            for batch in _packed(client, records):
                lane.client, lane.open = client, await client.send_batch(batch, topic, partition=partition)
                first = (await self._outcome(lane, lane.open)).offset
                if first < 0:
                    # A duplicate that the broker knows too little of to say where it stands. It is there.
                    raise LogUnavailable(f"{topic}/{partition}: written, but at an offset the broker did not say")
                offset = first + batch.record_count() - 1
            return offset

    async def close(self) -> None:
        """End. What is still being sent to a broker that is away is given up; its senders were told it may be."""
        self._closed = True
        retired = list(self._retired)
        for client in retired:
            self._retired[client].cancel()
        if self._client is not None and any(lane.open is not None for lane in self._lanes.values()):
            retired.append(self._client)
        elif self._client is not None:
            await self._cluster.end(self._client)
        self._client = None
        for client in retired:
            await _abandon(client)

    async def _settle(self, lane: Lane) -> None:
        if lane.open is None:
            return
        if sends_no_more(lane.client):
            lane.open = None  # nobody sends it any more
        else:
            # Refused for good is settled too: its sender was told that it may be missing.
            with contextlib.suppress(KafkaError):
                await self._outcome(lane, lane.open)

    async def _outcome(self, lane: Lane, batch: asyncio.Future[Any]) -> Any:
        """Wait for the lane's batch. Whoever stops waiting leaves it open."""
        try:
            # Shielded: a cancelled caller must not make us forget that the batch is under way.
            metadata = await asyncio.shield(batch)
        except KafkaError:
            lane.open = None
            self._retire(lane.client)
            raise
        lane.open = None
        return metadata

    async def _connected(self) -> Any:
        async with self._connecting:
            if self._closed:
                raise LogUnavailable("the producer was closed")
            if self._client is not None and sends_no_more(self._client):
                self._retire(self._client)
            if self._client is None:
                client = AIOKafkaProducer(
                    **self._cluster.options,
                    enable_idempotence=True,
                    acks="all",
                    linger_ms=0,
                    max_batch_size=MAX_RECORD_BYTES,
                )
                await self._cluster.start(client)
                self._client = client
            return self._client

    def _retire(self, client: Any) -> None:
        """Go on with a new client: after a refused batch this one's sequence numbers have a gap for ever."""
        if self._client is client:
            self._client = None
            self._retired[client] = asyncio.create_task(self._finish(client), name="keyledger-producer-retired")

    async def _finish(self, client: Any) -> None:
        """End a retired client once what other partitions sent by it is settled."""
        lanes = [lane for lane in self._lanes.values() if lane.client is client]
        sending = [lane.open for lane in lanes if lane.open is not None]
        if sending and not sends_no_more(client):
            await asyncio.wait(sending)
        await self._cluster.end(client)
        for lane in lanes:
            if lane.client is client:
                lane.open = None  # nobody sends it any more
        del self._retired[client]


def _packed(client: Any, records: Sequence[NewRecord]) -> Iterator[Any]:
    """Pack the records into as few batches as a broker takes, each built when the one before it was sent.

    Raises:
        ValueError: one is too large. Nothing of them was sent: those that share one batch are not.
    """
    batch = client.create_batch()
    checked = False
    for record in records:
        key, value, headers = record.key, record.value, list(record.headers)
        if batch.append(timestamp=None, key=key, value=value, headers=headers) is None:
            if not checked:
                check_records(records)
                checked = True
            yield batch
            batch = client.create_batch()
            # An empty batch takes any record that ``check_records`` let pass.
            batch.append(timestamp=None, key=key, value=value, headers=headers)
    yield batch


async def _abandon(client: Any) -> None:
    """End a client that still has something to send, which its ``stop`` would wait for without end."""
    sending = asyncio.create_task(client._sender.close())  # noqa: SLF001 - there is no public way
    await asyncio.wait([sending], timeout=ABANDON_SECONDS)
    sending.cancel()
    await asyncio.wait([sending])
    await client.client.close()
    client._closed = True  # noqa: SLF001 - else it warns of being forgotten
