"""The compose file is one, and says the same as the services, their settings, the topics and the gateway."""

import stat
import subprocess
import sys
import xml.etree.ElementTree as ET
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest

from infra.containers.dockerfile import read_stages
from infra.containers.gateway import CONFIGURATION, compose_gateway
from infra.contracts.released import load
from infra.local.cluster import ONE_SHOTS, SERVICES
from infra.local.gateway import OWN_PATHS
from infra.local.templates import INFRA, PROJECT
from keyledger.contracts.routes import ROUTES
from keyledger.runtime.settings import SECRETS, Settings, read_settings

COMPOSE = INFRA / "compose.yaml"
CHECKER = Path(sys.executable).parent / "check-jsonschema"
MAKE_SECRETS = INFRA / "make-secrets.sh"
DOCUMENT: dict[str, Any] = load(COMPOSE)
CONTAINERS: dict[str, Any] = DOCUMENT["services"]
OURS = (*ONE_SHOTS, *SERVICES)


@pytest.fixture(scope="module")
def secrets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("infra") / "secrets"
    subprocess.run([str(MAKE_SECRETS), str(folder)], check=True, capture_output=True)
    return folder


def _check(path: Path) -> int:
    command = [str(CHECKER), "--builtin-schema", "vendor.compose-spec", str(path)]
    return subprocess.run(command, check=False, capture_output=True).returncode


def test_it_is_a_compose_file() -> None:
    assert _check(COMPOSE) == 0


def test_the_checker_would_find_what_is_none(tmp_path: Path) -> None:
    bad = tmp_path / "compose.yaml"
    bad.write_text(
        COMPOSE.read_text(encoding="utf-8").replace("  read_only: true", "  readonly: true"), encoding="utf-8"
    )
    assert _check(bad) == 1


def test_every_service_has_its_container_and_every_preparation_its_job() -> None:
    folders = {path.name.removeprefix("keyledger_") for path in (PROJECT / "services").glob("keyledger_*")}
    assert set(SERVICES) == folders - {"standalone"}
    for name in SERVICES:
        assert CONTAINERS[name]["command"] == ["python", "-m", f"keyledger_{name}"]
    for name in ONE_SHOTS:
        assert CONTAINERS[name]["command"] == ["keyledger", name]
    assert set(CONTAINERS) == {*OURS, "kafka", "postgres", "gateway"}
    assert {CONTAINERS[name]["image"] for name in OURS} == {"${KEYLEDGER_IMAGE:-keyledger}"}


@pytest.mark.parametrize("name", OURS)
def test_its_settings_are_settings_and_its_secrets_are_files(name: str, secrets: Path) -> None:
    environment = {variable: str(value) for variable, value in CONTAINERS[name]["environment"].items()}
    granted = set(CONTAINERS[name].get("secrets", []))
    files = {value for value in environment.values() if value.startswith("/run/secrets/")}
    assert files == {f"/run/secrets/{secret}" for secret in granted}
    assert not {f"KEYLEDGER_{secret}" for secret in SECRETS} & set(environment)
    image = {key: value for key, value in read_stages()[-1].environment.items() if key.startswith("KEYLEDGER_")}
    here = {key: value.replace("/run/secrets", str(secrets)) for key, value in environment.items()}
    settings = read_settings(image | here)
    assert (settings.node == f"{name}-1") == (name in SERVICES)


def test_nobody_holds_a_secret_that_they_do_not_need() -> None:
    with_pepper = {name for name in OURS if "pepper" in CONTAINERS[name].get("secrets", [])}
    with_database = {name for name in OURS if "database_url" in CONTAINERS[name].get("secrets", [])}
    assert with_pepper == {"bootstrap", "commands", "directory", "verification", "anomalies"}
    assert with_database == {"migrate", "bootstrap", "commands", "relay", "directory", "anomalies"}


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_can_do_no_more_than_it_must(name: str) -> None:
    container = CONTAINERS[name]
    # Kafka's image writes its configuration into itself at its start.
    assert container["read_only"] is (name != "kafka")
    assert container["cap_drop"] == ["ALL"]
    assert container["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus", "pids_limit"} <= container.keys()
    assert "privileged" not in container
    assert "cap_add" not in container
    assert container.get("user", "0") != "0" or name in {*OURS, "kafka"}, "these images name a user themselves"


def test_only_the_origin_is_reached_from_outside_and_only_from_this_machine() -> None:
    published = {name: container["ports"] for name, container in CONTAINERS.items() if "ports" in container}
    assert published == {"gateway": [f"127.0.0.1:8700:{Settings().port}"]}
    assert DOCUMENT["networks"]["inner"] == {"internal": True}
    assert {name for name in CONTAINERS if "edge" not in CONTAINERS[name]["networks"]} == {
        "kafka", "postgres", "relay", *ONE_SHOTS,
    }  # fmt: skip


def test_the_gateway_alone_may_say_where_a_request_came_from_and_its_address_is_given_to_nobody_else() -> None:
    """Docker keeps no address back for a container that starts later: what others get comes from a range of its own."""
    address = CONTAINERS["gateway"]["networks"]["edge"]["ipv4_address"]
    (edge,) = DOCUMENT["networks"]["edge"]["ipam"]["config"]
    assert ip_address(address) in ip_network(edge["subnet"])
    assert ip_address(address) not in ip_network(edge["ip_range"])
    for name in SERVICES:
        assert CONTAINERS[name]["environment"]["KEYLEDGER_TRUSTED_PROXIES"] == f"{address}/32"


def _needed(name: str) -> dict[str, str]:
    return {other: how["condition"] for other, how in CONTAINERS[name].get("depends_on", {}).items()}


def _before(name: str) -> set[str]:
    return {name for other in _needed(name) for name in {other, *_before(other)}}


def test_what_must_be_there_first_is_waited_for() -> None:
    for name in SERVICES:
        assert {job for job, how in _needed(name).items() if how == "service_completed_successfully"} == set(ONE_SHOTS)
        assert {"kafka", "postgres"} <= _before(name)
    assert _needed("gateway") == dict.fromkeys({route.service for route in ROUTES}, "service_healthy")
    for name in CONTAINERS:
        for other, how in _needed(name).items():
            assert how == ("service_completed_successfully" if other in ONE_SHOTS else "service_healthy")
            answers = "healthcheck" in CONTAINERS[other] or other in SERVICES
            assert answers, f"{other} is waited for, so it must be able to say that it is there"


def test_health_is_asked_where_it_is_answered() -> None:
    test = CONTAINERS["gateway"]["healthcheck"]["test"]
    assert test[-1] == f"http://127.0.0.1:{Settings().port}/readyz"
    assert "/readyz" in OWN_PATHS
    for name in SERVICES:
        assert "healthcheck" not in CONTAINERS[name], "the image's own"


def test_the_gateways_configuration_is_that_of_the_route_table() -> None:
    assert CONFIGURATION.read_text(encoding="utf-8") == compose_gateway(), "run `make schemas`"
    mounted = [volume.split(":") for volume in CONTAINERS["gateway"]["volumes"]]
    assert all((INFRA / source).exists() and how == "ro" for source, _, how in mounted)
    assert {target for _, target, _ in mounted} == {
        "/etc/nginx/keyledger.conf", "/etc/nginx/proxy.conf", "/etc/nginx/openapi.json",
    }  # fmt: skip


def test_what_must_survive_stands_in_a_volume() -> None:
    for name in (*SERVICES, "kafka", "postgres", "bootstrap"):
        volume, _, target = CONTAINERS[name]["volumes"][0].partition(":")
        assert volume == ("commands" if name == "bootstrap" else name)
        assert volume in DOCUMENT["volumes"]
        if name in OURS:
            assert target == read_stages()[-1].last("WORKDIR").text


def test_kafka_is_the_version_and_the_kind_that_is_tested_here() -> None:
    pom = ET.parse(INFRA / "kafka" / "pom.xml")  # noqa: S314 - our own file
    (version,) = {
        dependency.findtext("{*}version")
        for dependency in pom.iterfind(".//{*}dependency")
        if dependency.findtext("{*}groupId") == "org.apache.kafka"
    }
    assert CONTAINERS["kafka"]["image"] == f"apache/kafka:{version}"
    tested = dict(
        line.split("=", 1)
        for line in (INFRA / "kafka" / "server.properties.template").read_text(encoding="utf-8").splitlines()
        if "=" in line and not line.startswith("#") and "%{" not in line
    )
    here = {
        name.removeprefix("KAFKA_").lower().replace("_", "."): str(value)
        for name, value in CONTAINERS["kafka"]["environment"].items()
    }
    assert "auto.create.topics.enable" in here
    assert {name: here[name] for name in here.keys() & tested.keys()} == {
        name: tested[name] for name in here.keys() & tested.keys()
    }


def test_secrets_are_made_once_and_for_the_containers_alone(secrets: Path) -> None:
    before = {path.name: path.read_text(encoding="ascii") for path in secrets.iterdir()}
    assert set(before) == set(DOCUMENT["secrets"])
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert before["postgres_password"] in before["database_url"]
    assert len(before["pepper"]) == 64
    subprocess.run([str(MAKE_SECRETS), str(secrets)], check=True, capture_output=True)
    assert {path.name: path.read_text(encoding="ascii") for path in secrets.iterdir()} == before
    assert all(secret["file"] == f"./secrets/{name}" for name, secret in DOCUMENT["secrets"].items())
