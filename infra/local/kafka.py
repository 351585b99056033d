"""Real Apache Kafka brokers (KRaft), one or three, on the loopback address."""

import base64
import contextlib
import socket
import struct
import uuid
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.local.kafka_jars import kafka_jars
from infra.local.ports import LOOPBACK, free_port, is_taken
from infra.local.processes import Process, ServerFailed, Started, nobody, run, spawn, wait_until_ready
from infra.local.templates import INFRA, render

READY_SECONDS = 120.0
CLUSTER_NODES = 3
METADATA, METADATA_VERSION = 3, 1
JAVA = ("java", "-XX:-UsePerfData", "-Djava.awt.headless=true")
# Kept small, because five services and a database share the two cores and the memory with it.
BROKER_OPTIONS = ("-Xms384m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError")
TOOL_OPTIONS = ("-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class KafkaServer:
    """A broker that takes requests at `bootstrap` (`127.0.0.1:port`)."""

    process: Process
    bootstrap: str

    @property
    def pid(self) -> int:
        """The broker's process id."""
        return self.process.pid

    def stop(self) -> None:
        """End the broker; its data stays."""
        self.process.stop(grace_seconds=30)


@dataclass(frozen=True, slots=True)
class Node:
    """One broker and controller: its number, its folder and its ports on the loopback address.

    `advertised_port` is where the broker tells its clients to connect: another one than `port` when a proxy stands
    before it.
    """

    number: int
    folder: Path
    port: int
    controller_port: int
    advertised_port: int

    @property
    def properties(self) -> Path:
        """Where its configuration is written."""
        return self.folder / "server.properties"

    @property
    def log(self) -> Path:
        """What it and its tools print."""
        return self.folder / "kafka.log"


def start_kafka(
    data_dir: Path,
    port: int | None = None,
    *,
    controller_port: int | None = None,
    advertised_port: int | None = None,
    started: Started = nobody,
) -> KafkaServer:
    """Start a broker on `data_dir`, new or used before, and return once it takes requests.

    Args:
        data_dir: Holds the broker's data, its configuration and `kafka.log`.
        port: The loopback port of its clients; a free one if None.
        controller_port: The loopback port of the controller; a free one if None.
        advertised_port: Where clients are told to connect, for a proxy before the broker; `port` if None.
        started: Told of the process as soon as it exists.

    Raises:
        ServerFailed: Java or the jars are missing, a port is taken, or the broker did not come up.
    """
    port = port or free_port()
    node = Node(1, data_dir.resolve(), port, controller_port or free_port(), advertised_port or port)
    return KafkaCluster((node,)).start(started)[0]


def start_kafka_cluster(data_dir: Path, ports: Sequence[int] = (), *, started: Started = nobody) -> "KafkaCluster":
    """Start three brokers below `data_dir`, new or used before, and return once all take requests.

    Args:
        data_dir: Holds a folder for each node (`1`, `2`, `3`).
        ports: Six loopback ports: client's and controller's of each node; free ones if empty.
        started: Told of each process as soon as it exists.

    Raises:
        ServerFailed: Java or the jars are missing, a port is taken, or a broker did not come up; none is left running.
    """
    given = iter(ports or [free_port() for _ in range(2 * CLUSTER_NODES)])
    nodes = []
    for number in range(1, CLUSTER_NODES + 1):
        port, controller_port = next(given), next(given)
        nodes.append(Node(number, data_dir.resolve() / str(number), port, controller_port, port))
    cluster = KafkaCluster(tuple(nodes))
    cluster.start(started)
    return cluster


class KafkaCluster:
    """Brokers that are also each other's controllers: with three, every topic of ours is on three (`min.insync` 2)."""

    def __init__(self, nodes: tuple[Node, ...]) -> None:
        self.nodes = nodes
        self.servers: dict[int, KafkaServer] = {}
        """By the node's number, those that were started last."""

    @property
    def bootstrap(self) -> str:
        """All brokers, as a client wants them named."""
        return ",".join(f"{LOOPBACK}:{node.advertised_port}" for node in self.nodes)

    def start(self, started: Started = nobody, *, numbers: Collection[int] | None = None) -> list[KafkaServer]:
        """Start all nodes, or those again that were killed, and return once they take requests.

        Raises:
            ServerFailed: A port is taken or a broker did not come up; of those named here none is left running.
        """
        nodes = [node for node in self.nodes if numbers is None or node.number in numbers]
        for wanted in (port for node in nodes for port in (node.port, node.controller_port)):
            if is_taken(wanted):
                raise ServerFailed(f"Kafka cannot have port {wanted}: something else listens there")
        self._configure(nodes)
        processes = {}
        try:
            # All before the first is waited for: a controller alone is no quorum.
            for node in nodes:
                processes[node] = _spawn(node)
                started(processes[node])
            for node, process in processes.items():
                wait_until_ready(process, lambda at=node.port: serves(at), deadline_seconds=READY_SECONDS)  # type: ignore[misc]
        except BaseException:
            for process in processes.values():
                process.stop()
            raise
        begun = {
            node.number: KafkaServer(process, f"{LOOPBACK}:{node.advertised_port}")
            for node, process in processes.items()
        }
        self.servers |= begun
        return list(begun.values())

    def stop(self) -> None:
        """End every broker; the data stays. At once: the last ones would wait for a quorum that is gone."""
        with ThreadPoolExecutor(len(self.nodes)) as at_once:
            list(at_once.map(KafkaServer.stop, self.servers.values()))

    def _configure(self, nodes: Sequence[Node]) -> None:
        """Write the settings; give empty data folders one cluster id and a quorum of all nodes."""
        quorum = ",".join(f"{LOOPBACK}:{node.controller_port}" for node in self.nodes)
        copies = len(self.nodes)
        for node in nodes:
            node.folder.mkdir(parents=True, exist_ok=True)
            settings = render(
                "kafka/server.properties.template",
                node=node.number,
                quorum=quorum,
                port=node.port,
                advertised_port=node.advertised_port,
                controller_port=node.controller_port,
                log_dirs=node.folder / "data",
                replicas=copies,
                min_in_sync=max(1, copies - 1),
            )
            node.properties.write_text(settings, encoding="utf-8")
        empty = [node for node in nodes if not (node.folder / "data" / "meta.properties").exists()]
        if empty:
            self._format(empty)

    def _format(self, empty: Sequence[Node]) -> None:
        if len(empty) < len(self.nodes):
            raise ServerFailed("a node without data cannot join: start all of them on empty folders")
        controllers = ",".join(f"{n.number}@{LOOPBACK}:{n.controller_port}:{_kafka_uuid()}" for n in self.nodes)
        quorum = ["--standalone"] if len(self.nodes) == 1 else ["--initial-controllers", controllers]
        cluster_id = _kafka_uuid()
        for node in empty:
            tool = ["kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(node.properties), *quorum]
            run("formatting Kafka's storage", [*JAVA, *TOOL_OPTIONS, *_class_path(), *tool], log=node.log)


def _spawn(node: Node) -> Process:
    command = [*JAVA, *BROKER_OPTIONS, *_class_path(), "kafka.Kafka", str(node.properties)]
    return spawn("kafka" if node.number == 1 else f"kafka-{node.number}", command, log=node.log)


def _class_path() -> list[str]:
    return [f"-Dlog4j2.configurationFile={INFRA / 'kafka' / 'log4j2.xml'}", "-cp", f"{kafka_jars()}/*"]


def _kafka_uuid() -> str:
    # A leading "-" would be taken for an option.
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")


def serves(port: int) -> bool:
    """Say whether the broker on `port` answers and counts itself as registered.

    A port that accepts is not enough: the broker accepts before the controller lets it serve, and a client that
    comes in between sees a cluster without brokers. So Metadata v1 is asked and must name a broker
    (Apache Kafka, protocol guide, "Metadata API").
    """
    with contextlib.suppress(OSError, struct.error), socket.create_connection((LOOPBACK, port), timeout=1) as client:
        client.settimeout(2)
        # api key, version, correlation id, no client id; then an empty list of topics: brokers only.
        request = struct.pack(">hhihi", METADATA, METADATA_VERSION, 1, -1, 0)
        client.sendall(struct.pack(">i", len(request)) + request)
        with client.makefile("rb") as answer:
            _length, correlation, brokers = struct.unpack(">iii", answer.read(12))
        return bool(correlation == 1 and brokers > 0)
    return False
