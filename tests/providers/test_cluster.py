"""`make cluster` starts all or nothing, and `make cluster-down` leaves nothing behind."""

import http.client
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from infra.local import ServerFailed
from infra.local.cluster import PORTS, SERVICES, Cluster, cluster_down, cluster_up
from infra.local.ports import free_row, is_taken

STAND_IN = str(Path(__file__).with_name("stand_in.py"))
EVERYTHING = ["kafka", "postgres", *SERVICES, "nginx"]


@dataclass(frozen=True)
class Row:
    method: str
    path: str
    service: str


ROUTES = (Row("GET", "/v1/things/{thing_id}", "directory"),)


def stand_in(verb: str, name: str) -> list[str]:
    return [sys.executable, STAND_IN, verb, name]


def cluster_in(folder: Path, broken: str = "") -> Cluster:
    return Cluster(
        folder=folder / "cluster",
        public_port=free_row(PORTS),
        tool=lambda name: stand_in("run", name),
        service=lambda name: stand_in("serve", "broken" if name == broken else name),
    )


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_cluster_comes_up_once_passes_requests_on_and_goes_down_for_good(server_folder: Path) -> None:
    cluster = cluster_in(server_folder)
    said: list[str] = []
    assert cluster_up(cluster, ROUTES, said.append)
    try:
        started = cluster.state.processes()
        names = [process.name for process in started]
        assert [*sorted(names[:2]), *names[2:]] == EVERYTHING
        assert not cluster_up(cluster, ROUTES, said.append)
        assert cluster.state.processes() == started
        assert_request_is_passed_on(cluster)
    finally:
        assert cluster_down(cluster, said.append)
    assert not any(process.is_running() for process in started)
    assert not cluster_down(cluster, said.append)
    password = (cluster.folder / "postgres" / "postgres" / "password").read_text()
    assert password not in "\n".join(said)


def assert_request_is_passed_on(cluster: Cluster) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", cluster.public_port, timeout=120)
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    claimed = {"X-Forwarded-For": "203.0.113.7", "Forwarded": "for=203.0.113.7", "traceparent": trace}
    connection.request("GET", "/v1/things/t1", headers=claimed)
    seen = json.loads(connection.getresponse().read())
    connection.close()
    assert seen["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert seen["headers"]["x-forwarded-proto"] == "http"
    assert seen["headers"]["host"] == f"127.0.0.1:{cluster.public_port}"
    assert seen["headers"]["traceparent"] == trace
    assert "forwarded" not in seen["headers"]
    assert seen["given"] == {
        "KEYLEDGER_DATA_DIR": str(cluster.data_dir),
        "KEYLEDGER_KAFKA_BOOTSTRAP": f"127.0.0.1:{cluster.kafka_ports[0]}",
        "KEYLEDGER_NODE": "directory-1",
        "KEYLEDGER_PORT": str(cluster.service_ports["directory"]),
        "KEYLEDGER_TRUSTED_PROXIES": "127.0.0.1/32",
    }


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_service_that_breaks_is_named_with_its_log_and_everything_is_stopped(server_folder: Path) -> None:
    cluster = cluster_in(server_folder, broken="directory")
    said: list[str] = []
    with pytest.raises(ServerFailed, match=r"(?s)directory ended.*the stand-in was told to break"):
        cluster_up(cluster, ROUTES, said.append)
    assert cluster.state.processes() == []
    # Only those that were taken: any other of the row may be somebody else's by now.
    others = [port for name, port in cluster.service_ports.items() if name != "directory"]
    assert not any(is_taken(port) for port in (*cluster.kafka_ports, cluster.postgres_port, *others))
