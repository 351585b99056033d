"""The distributed profile on one machine: Kafka, Postgres, a process per service, and nginx in front."""

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from infra.local.gateway import GatewayRoute, render_gateway
from infra.local.kafka import CLUSTER_NODES, start_kafka, start_kafka_cluster
from infra.local.nginx import answers, start_nginx
from infra.local.ports import LOOPBACK
from infra.local.postgres import start_postgres
from infra.local.processes import Process, ServerFailed, run, spawn, wait_until_ready
from infra.local.state import ClusterState, exclusive
from infra.local.templates import PROJECT

PUBLIC_PORT = 8700
PORTS = 13
"""How many ports in a row one cluster has, the public one first; with three brokers four more."""
SERVICES = ("commands", "relay", "directory", "verification", "anomalies")
READY_SECONDS = 180.0
ONE_SHOTS = ("migrate", "topics", "bootstrap")
OPENAPI = PROJECT / "schemas" / "openapi" / "openapi.json"

Say = Callable[[str], None]


def tool_command(name: str) -> list[str]:
    """Return the call of `keyledger <name>`, the script beside the Python that runs us."""
    return [str(Path(sys.executable).parent / "keyledger"), name]


def service_command(name: str) -> list[str]:
    """Return the call that runs one service as a process."""
    return [sys.executable, "-m", f"keyledger_{name}"]


@dataclass(frozen=True, slots=True)
class Cluster:
    """What one cluster is made of: a folder, a row of ports, and the programs that are run."""

    folder: Path
    public_port: int = PUBLIC_PORT
    tool: Callable[[str], list[str]] = tool_command
    service: Callable[[str], list[str]] = service_command
    kafka_brokers: int = 1

    @property
    def data_dir(self) -> Path:
        """The services' own: the root key, the pepper and the indexes."""
        return self.folder.parent

    @property
    def url(self) -> str:
        """The one public origin."""
        return f"http://{LOOPBACK}:{self.public_port}"

    @property
    def service_ports(self) -> dict[str, int]:
        """Each service's own loopback port: those after the public one."""
        return {name: self.public_port + n for n, name in enumerate(SERVICES, start=1)}

    @property
    def kafka_ports(self) -> list[int]:
        """Each broker's port and its controller's: one pair before Postgres's port, the others after it."""
        pairs = [self.public_port + 10, *(self.postgres_port + 1 + 2 * n for n in range(self.kafka_brokers - 1))]
        return [port for first in pairs for port in (first, first + 1)]

    @property
    def postgres_port(self) -> int:
        """Postgres's port."""
        return self.public_port + 12

    @property
    def state(self) -> ClusterState:
        """What was started."""
        return ClusterState(self.folder / "state.json")


def cluster_from_environment(environment: Mapping[str, str] = os.environ) -> Cluster:
    """Return the cluster below `KEYLEDGER_DATA_DIR` (`.keyledger`) at `KEYLEDGER_PORT` (8700).

    Servers, state and logs have a folder of their own there; `root.key` and `pepper` are those of `make run`.
    `KAFKA_BROKERS=3`: three brokers, with data of their own; the relay fills them from the ledger.

    Raises:
        ServerFailed: `KAFKA_BROKERS` is neither 1 nor 3.
    """
    brokers = environment.get("KAFKA_BROKERS") or "1"
    if brokers not in ("1", str(CLUSTER_NODES)):
        raise ServerFailed(f"KAFKA_BROKERS is 1 or {CLUSTER_NODES}: two lose their quorum with either of them")
    data = Path(environment.get("KEYLEDGER_DATA_DIR") or PROJECT / ".keyledger")
    port = int(environment.get("KEYLEDGER_PORT") or PUBLIC_PORT)
    return Cluster(folder=data.resolve() / "cluster", public_port=port, kafka_brokers=int(brokers))


def cluster_up(cluster: Cluster, routes: Sequence[GatewayRoute], say: Say) -> bool:
    """Start everything that is not running and return once every `/readyz` answers 200.

    Returns:
        True when it was started, False when it ran already and nothing was changed.

    Raises:
        ServerFailed: A process did not come up (its log's end is in the message); what was started is stopped. Or
            the cluster runs in part, and nothing was changed.
    """
    with exclusive(cluster.folder / "lock"):
        known = cluster.state.processes()
        gone = [process.name for process in known if not process.is_running()]
        if known and not gone:
            return False
        if known and len(gone) < len(known):
            raise ServerFailed(f"the cluster runs without {', '.join(gone)}: take it down first (make cluster-down)")
        for process in known:  # a reboot took all of them
            cluster.state.remove(process)
        try:
            _start(cluster, routes, say)
        except BaseException:
            say("it failed: stopping what was started")
            _stop(cluster, say)
            raise
    return True


def cluster_down(cluster: Cluster, say: Say) -> bool:
    """Stop everything that was started, last first. The data stays.

    Returns:
        False when there was nothing to stop.
    """
    with exclusive(cluster.folder / "lock"):
        return _stop(cluster, say)


def _stop(cluster: Cluster, say: Say) -> bool:
    processes = cluster.state.processes()
    # The brokers last, and at once: the last ones would wait for a quorum that is gone. Postgres may stand among them.
    brokers = [process for process in processes if process.name.startswith("kafka")]
    others = [process for process in reversed(processes) if process not in brokers]
    for _, alike in groupby([*others, *brokers], key=lambda process: process.name.partition("-")[0]):
        together = list(alike)
        with ThreadPoolExecutor(len(together)) as at_once:
            for process, stopped in zip(together, at_once.map(Process.stop, together), strict=True):
                cluster.state.remove(process)
                say(f"  {process.name} {'stopped' if stopped else 'was gone'} ({process.pid})")
    return bool(processes)


def _start(cluster: Cluster, routes: Sequence[GatewayRoute], say: Say) -> None:
    say("Kafka and Postgres ...")
    with ThreadPoolExecutor(2) as side_by_side:
        kafka = side_by_side.submit(_start_kafka, cluster)
        database = side_by_side.submit(
            start_postgres, cluster.folder / "postgres", cluster.postgres_port, started=cluster.state.add
        )
        bootstrap, postgres = kafka.result(), database.result()
    say(f"  at {bootstrap} and {LOOPBACK}:{cluster.postgres_port}")
    shared = {
        **os.environ,
        "KEYLEDGER_DATA_DIR": str(cluster.data_dir),
        "KEYLEDGER_DATABASE_URL": postgres.url,
        "KEYLEDGER_KAFKA_BOOTSTRAP": bootstrap,
        "KEYLEDGER_TRUSTED_PROXIES": f"{LOOPBACK}/32",
    }
    shared.pop("KEYLEDGER_PORT", None)
    _prepare(cluster, shared, say)
    _start_services(cluster, shared, say)
    say("nginx ...")
    _start_gateway(cluster, routes, say)
    say(f"ready: {cluster.url}   root key: {cluster.data_dir / 'root.key'}")


def _start_kafka(cluster: Cluster) -> str:
    keep, ports = cluster.state.add, cluster.kafka_ports
    if cluster.kafka_brokers == CLUSTER_NODES:
        return start_kafka_cluster(cluster.folder / "kafka-three", ports, started=keep).bootstrap
    return start_kafka(cluster.folder / "kafka", ports[0], controller_port=ports[1], started=keep).bootstrap


def _prepare(cluster: Cluster, environment: Mapping[str, str], say: Say) -> None:
    """Schema, topics and the first organization: each a command that changes nothing the second time."""

    def carried_out(*commands: str) -> None:
        for command in commands:
            say(f"keyledger {command} ...")
            run(f"keyledger {command}", cluster.tool(command), log=_log(cluster, command), environment=environment)

    with ThreadPoolExecutor(2) as side_by_side:  # the topics are Kafka's, the others Postgres's
        for done in [
            side_by_side.submit(carried_out, "topics"),
            side_by_side.submit(carried_out, "migrate", "bootstrap"),
        ]:
            done.result()


def _start_services(cluster: Cluster, shared: Mapping[str, str], say: Say) -> None:
    started: dict[Process, int] = {}
    for name, port in cluster.service_ports.items():
        environment = {**shared, "KEYLEDGER_PORT": str(port), "KEYLEDGER_NODE": f"{name}-1"}
        process = spawn(name, cluster.service(name), log=_log(cluster, name), environment=environment)
        cluster.state.add(process)
        started[process] = port
        say(f"{name} ... at {LOOPBACK}:{port} ({process.pid})")
    # All are started before the first is waited for: readiness of one may need another.
    for process, port in started.items():
        wait_until_ready(process, lambda at=port: answers(at, "/readyz", status=200), deadline_seconds=READY_SECONDS)  # type: ignore[misc]
        say(f"  {process.name} is ready")


def _start_gateway(cluster: Cluster, routes: Sequence[GatewayRoute], say: Say) -> None:
    documents = (OPENAPI,) if OPENAPI.exists() else ()
    if not documents:
        say(f"  /openapi.json answers 404: {OPENAPI.relative_to(PROJECT)} was not written (make schemas)")

    def configuration(port: int) -> str:
        return render_gateway(routes, cluster.service_ports, port=port, openapi=Path(OPENAPI.name))

    nginx = start_nginx(
        cluster.folder / "nginx",
        configuration,
        cluster.public_port,
        documents=documents,
        started=cluster.state.add,
    )
    wait_until_ready(
        nginx.process, lambda: answers(cluster.public_port, "/readyz", status=200), deadline_seconds=READY_SECONDS
    )
    say(f"  at {nginx.url} ({nginx.pid})")


def _log(cluster: Cluster, name: str) -> Path:
    return cluster.folder / "logs" / f"{name}.log"
