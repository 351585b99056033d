"""Kafka brokers of a run's own: one behind a proxy, or three; killed, stopped, and back with what they held."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from infra.local import KafkaCluster, start_kafka_cluster
from infra.local.kafka import Node
from infra.local.ports import free_port
from tests.faults.proxy import Proxy
from tests.faults.waiting import started, until

START_ATTEMPTS: Final = 3


class OwnBrokers:
    """The brokers by their numbers, at the same ports over all their lives."""

    def __init__(self, cluster: KafkaCluster) -> None:
        self._cluster = cluster

    @property
    def bootstrap(self) -> str:
        """Where clients find them: the proxy, if there is one."""
        return self._cluster.bootstrap

    @property
    def numbers(self) -> list[int]:
        """All of them."""
        return [node.number for node in self._cluster.nodes]

    async def kill(self, *numbers: int) -> None:
        """SIGKILL."""
        for number in numbers:
            os.kill(self._cluster.servers[number].pid, signal.SIGKILL)
        servers = [self._cluster.servers[number] for number in numbers]
        await until(lambda: not any(server.process.is_running() for server in servers), "the killed brokers have ended")

    async def start(self, numbers: Collection[int]) -> None:
        """Begin a life of each; what they held they hold again."""
        # A client's connection can take a port for a moment, from which it called somebody else.
        await started(partial(self._cluster.start, numbers=numbers), attempts=START_ATTEMPTS)

    @asynccontextmanager
    async def admin(self) -> AsyncIterator[AIOKafkaAdminClient]:
        """Give a client that may do everything, where clients find the brokers."""
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap)
        await admin.start()
        try:
            yield admin
        finally:
            await admin.close()

    def freeze(self, number: int) -> None:
        """SIGSTOP: it takes bytes and answers nobody."""
        os.kill(self._cluster.servers[number].pid, signal.SIGSTOP)

    def thaw(self, number: int) -> None:
        """SIGCONT."""
        os.kill(self._cluster.servers[number].pid, signal.SIGCONT)


@asynccontextmanager
async def broker_behind_a_proxy(folder: Path) -> AsyncIterator[tuple[OwnBrokers, Proxy]]:
    """Start one broker that tells its clients to connect to the proxy."""
    port, controller_port = free_port(), free_port()
    async with Proxy(port) as proxy:
        cluster = KafkaCluster((Node(1, folder, port, controller_port, proxy.port),))
        await asyncio.to_thread(cluster.start)
        try:
            yield OwnBrokers(cluster), proxy
        finally:
            await asyncio.to_thread(cluster.stop)


@asynccontextmanager
async def three_brokers(folder: Path) -> AsyncIterator[OwnBrokers]:
    """Start three brokers, each topic on all of them."""
    cluster = await asyncio.to_thread(start_kafka_cluster, folder)
    try:
        yield OwnBrokers(cluster)
    finally:
        await asyncio.to_thread(cluster.stop)
