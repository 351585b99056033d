"""The servers that infra/local starts are real, ready when it says so, and gone when they were stopped."""

import http.client
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from infra.local import (
    NginxServer,
    ServerFailed,
    render_gateway,
    start_kafka,
    start_nginx,
    start_postgres,
)
from infra.local.gateway import render_constant
from infra.local.ports import free_port
from infra.local.processes import Process, identify
from infra.local.templates import PROJECT

OPENAPI = '{"openapi":"3.1.0"}'
DRAWN = 120
"""Of so many out of twelve thousand a few are drawn twice, nine times in ten."""


@dataclass(frozen=True)
class Row:
    method: str
    path: str
    service: str


ROUTES = (
    Row("GET", "/v1/things", "directory"),
    Row("POST", "/v1/things", "commands"),
    Row("DELETE", "/v1/things/{thing_id}", "commands"),
    Row("POST", "/v1/things/mine", "commands"),
)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


def ask(server: NginxServer, method: str, path: str, headers: dict[str, str] | None = None) -> Answer:
    connection = http.client.HTTPConnection(urlsplit(server.url).netloc, timeout=120)
    try:
        connection.request(method, path, headers=headers or {})
        response = connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
    finally:
        connection.close()


def is_gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.kafka
async def test_what_is_produced_is_consumed_and_a_stopped_broker_is_gone(server_folder: Path) -> None:
    server = start_kafka(server_folder / "kafka")
    try:
        await create_topic(server.bootstrap, "proof")
        producer = AIOKafkaProducer(bootstrap_servers=server.bootstrap, acks="all")
        await producer.start()
        try:
            await producer.send_and_wait("proof", b"a fact")
        finally:
            await producer.stop()
    finally:
        server.stop()
    assert is_gone(server.pid)

    again = start_kafka(server_folder / "kafka")
    try:
        assert await first_record(again.bootstrap, "proof") == b"a fact"
    finally:
        again.stop()


@pytest.mark.kafka
async def test_a_topic_nobody_created_does_not_come_to_be(kafka_bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka_bootstrap)
    await admin.start()
    try:
        typo = f"typo-{uuid.uuid4().hex}"
        described = await admin.describe_topics([typo])
        assert described[0]["error_code"] != 0
        assert typo not in await admin.list_topics()
    finally:
        await admin.close()


@pytest.mark.postgres
async def test_postgres_answers_only_with_its_password_and_is_gone_when_stopped(server_folder: Path) -> None:
    server = start_postgres(server_folder / "postgres")
    try:
        connection = await asyncpg.connect(server.url)
        assert await connection.fetchval("SHOW fsync") == "on"
        await connection.execute("CREATE TABLE kept AS SELECT 1 AS n")
        await connection.close()
        parts = urlsplit(server.url)
        assert parts.password is not None
        assert parts.password not in repr(server)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url.replace(parts.password, "wrong"))
    finally:
        server.stop()
    assert is_gone(server.pid)

    again = start_postgres(server_folder / "postgres")
    try:
        connection = await asyncpg.connect(again.url)
        assert await connection.fetchval("SELECT n FROM kept") == 1
        await connection.close()
    finally:
        again.stop()


@pytest.mark.postgres
async def test_each_test_has_an_empty_database_of_its_own(postgres_database: str, postgres_url: str) -> None:
    assert postgres_database != postgres_url
    connection = await asyncpg.connect(postgres_database)
    try:
        assert await connection.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == 0
    finally:
        await connection.close()


def test_a_server_that_cannot_start_says_why(server_folder: Path) -> None:
    with pytest.raises(ServerFailed, match=r"(?s)nginx.*unknown directive"):
        start_nginx(server_folder / "nginx", lambda _port: "nonsense;\nevents {}\n")


def test_a_process_id_that_now_names_another_process_is_left_alone() -> None:
    ours = identify("pytest", os.getpid())
    reused = Process(name="before the reboot", pid=ours.pid, started_ticks=ours.started_ticks - 1, log=ours.log)
    assert not reused.is_running()
    assert not reused.stop()


@pytest.fixture
def gateway(server_folder: Path) -> Iterator[NginxServer]:
    document = server_folder / "openapi.json"
    document.write_text(OPENAPI)
    services = {"commands": free_port(), "directory": free_port()}  # nobody listens there
    server = start_nginx(
        server_folder / "nginx",
        lambda port: render_gateway(ROUTES, services, port=port, openapi=Path("openapi.json")),
        documents=(document,),
    )
    yield server
    server.stop()
    assert is_gone(server.pid)


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/v1/things", "GET, HEAD, POST"),
        ("GET", "/v1/things/t1", "DELETE"),
        ("PATCH", "/v1/things/mine", "DELETE, POST"),
        ("POST", "/openapi.json", "GET, HEAD"),
        ("POST", "/livez", "GET, HEAD"),
    ],
)
def test_another_method_on_a_known_path_is_405_with_allow(
    gateway: NginxServer, method: str, path: str, allow: str
) -> None:
    answer = ask(gateway, method, path)
    assert answer.status == 405
    assert answer.headers["allow"] == allow
    assert_problem(answer, "method-not-allowed")


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/things/", "/v1/things/t1/rotate", "/v1//things", "/nginx-constant"])
def test_an_unknown_path_is_404(gateway: NginxServer, path: str) -> None:
    answer = ask(gateway, "GET", path)
    assert answer.status == 404
    assert "allow" not in answer.headers
    assert_problem(answer, "not-found")


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/v1/things", "not-ready"),
        ("HEAD", "/v1/things", ""),
        ("GET", "/readyz", "not-ready"),
        ("POST", "/v1/things", "outcome-unknown"),
        ("DELETE", "/v1/things/t1", "outcome-unknown"),
    ],
)
def test_a_service_that_is_down_is_503_and_a_write_is_told_its_outcome_is_unknown(
    gateway: NginxServer, method: str, path: str, code: str
) -> None:
    answer = ask(gateway, method, path)
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    if code:
        assert_problem(answer, code)


def test_the_origin_answers_for_itself_and_shows_the_document(gateway: NginxServer) -> None:
    assert ask(gateway, "GET", "/livez").status == 200
    assert ask(gateway, "GET", "/openapi.json").body == OPENAPI.encode()


def test_no_query_string_and_no_credential_reaches_a_file(gateway: NginxServer) -> None:
    secrets = (uuid.uuid4().hex, uuid.uuid4().hex)
    ask(gateway, "GET", f"/v1/things?key={secrets[0]}", {"Authorization": f"Bearer {secrets[1]}"})
    gateway.stop()  # which flushes its logs
    written = "".join(path.read_text() for path in gateway.folder.glob("*.log"))
    assert '"path":"/v1/things"' in written
    assert not any(secret in written for secret in secrets)


def test_the_yardstick_answers_its_constant(server_folder: Path) -> None:
    server = start_nginx(server_folder / "constant", lambda port: render_constant(port=port))
    try:
        assert ask(server, "GET", "/nginx-constant").status == 200
    finally:
        server.stop()


def test_a_route_without_a_service_is_refused() -> None:
    with pytest.raises(ValueError, match="'relay', which has no port"):
        render_gateway([Row("GET", "/x", "relay")], {"commands": 1}, port=2, openapi=Path("openapi.json"))


def assert_problem(answer: Answer, code: str) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    problem = json.loads(answer.body)
    assert problem["type"] == f"urn:keyledger:problem:{code}"
    assert (problem["code"], problem["status"]) == (code, answer.status)
    assert len(problem["request_id"]) == 32


async def create_topic(bootstrap: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def first_record(bootstrap: str, topic: str) -> bytes | None:
    consumer = AIOKafkaConsumer(
        topic,
        bootstrap_servers=bootstrap,
        group_id=f"proof-{uuid.uuid4().hex}",
        auto_offset_reset="earliest",
        enable_auto_commit=False,
    )
    await consumer.start()
    try:
        record = await consumer.getone()
        value: bytes | None = record.value
        return value
    finally:
        await consumer.stop()


def test_a_port_is_given_to_one_process_alone() -> None:
    """It is bound much later, and the formatting of Kafka's storage alone may take minutes on a busy machine."""
    ours = [free_port() for _ in range(DRAWN)]
    draw = f"from infra.local.ports import free_port; print(*(free_port() for _ in range({DRAWN})))"
    done = subprocess.run([sys.executable, "-c", draw], cwd=PROJECT, capture_output=True, text=True, check=True)
    theirs = [int(port) for port in done.stdout.split()]
    assert len({*ours, *theirs}) == 2 * DRAWN
