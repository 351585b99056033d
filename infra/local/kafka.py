"""A real Apache Kafka broker (KRaft, one node) on the loopback address."""

import base64
import contextlib
import socket
import struct
import uuid
from dataclasses import dataclass
from pathlib import Path

from infra.local.kafka_jars import kafka_jars
from infra.local.ports import LOOPBACK, free_port, is_taken
from infra.local.processes import Process, ServerFailed, Started, nobody, run, spawn, wait_until_ready
from infra.local.templates import INFRA, render

READY_SECONDS = 60.0
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


def start_kafka(
    data_dir: Path, port: int | None = None, *, controller_port: int | None = None, started: Started = nobody
) -> KafkaServer:
    """Start a broker on `data_dir`, new or used before, and return once it takes requests.

    Args:
        data_dir: Holds the broker's data, its configuration and `kafka.log`.
        port: The loopback port of its clients; a free one if None.
        controller_port: The loopback port of the controller; a free one if None.
        started: Told of the process as soon as it exists.

    Raises:
        ServerFailed: Java or the jars are missing, a port is taken, or the broker did not come up.
    """
    port = port or free_port()
    controller_port = controller_port or free_port()
    for wanted in (port, controller_port):
        if is_taken(wanted):
            raise ServerFailed(f"Kafka cannot have port {wanted}: something else listens there")
    data_dir = data_dir.resolve()
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir / "kafka.log"
    properties = data_dir / "server.properties"
    properties.write_text(
        render(
            "kafka/server.properties.template",
            port=port,
            controller_port=controller_port,
            log_dirs=data_dir / "data",
        ),
        encoding="utf-8",
    )
    classes = f"{kafka_jars()}/*"
    if not (data_dir / "data" / "meta.properties").exists():
        _format(classes, properties, log)
    settings = [f"-Dlog4j2.configurationFile={INFRA / 'kafka' / 'log4j2.xml'}", "-cp", classes]
    process = spawn("kafka", [*JAVA, *BROKER_OPTIONS, *settings, "kafka.Kafka", str(properties)], log=log)
    try:
        started(process)
        wait_until_ready(process, lambda: serves(port), deadline_seconds=READY_SECONDS)
    except BaseException:
        process.stop()
        raise
    return KafkaServer(process=process, bootstrap=f"{LOOPBACK}:{port}")


def _format(classes: str, properties: Path, log: Path) -> None:
    """Give an empty data folder a cluster id and a quorum of this one node."""
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=").replace("-", "_")
    tool = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", str(properties), "--standalone"]
    settings = [f"-Dlog4j2.configurationFile={INFRA / 'kafka' / 'log4j2.xml'}", "-cp", classes]
    run("formatting Kafka's storage", [*JAVA, *TOOL_OPTIONS, *settings, *tool], log=log)


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
