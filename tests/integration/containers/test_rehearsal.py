"""The compose file's own containers, started without Docker from what the Dockerfile's steps make.

Each as its unprivileged user, without capabilities, on a read-only root, with the compose file's command, settings and
secrets; of these only addresses are others: all containers share this machine's network.
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

from infra.containers.dockerfile import read_stages
from infra.contracts.released import load
from infra.local import start_kafka
from infra.local.cluster import ONE_SHOTS, SERVICES
from infra.local.ports import free_port
from infra.local.templates import INFRA, PROJECT
from tests.faults.small_disk import may_mount

COMPOSE: dict[str, Any] = load(INFRA / "compose.yaml")
USER = int(read_stages()[-1].last("USER").text.partition(":")[0])
DEADLINE_SECONDS = 120.0
REHEARSAL_SECONDS = 900.0
PROBE = """
import os, pathlib
def refuses(path):
    try:
        pathlib.Path(path).write_text("x")
    except OSError:
        return True
    return False
assert os.getuid() == %d and os.getgid() == %d and os.getgroups() == []
assert os.statvfs("/").f_flag & os.ST_RDONLY
assert all(map(refuses, ["/x", "/var/tmp/x", "/opt/keyledger/x", "/usr/local/x", "/run/secrets/x"]))
status = pathlib.Path("/proc/self/status").read_text()
assert "CapEff:\\t0000000000000000" in status and "CapBnd:\\t0000000000000000" in status and "NoNewPrivs:\\t1" in status
import keyledger
assert keyledger.__path__[0].startswith("/opt/keyledger/"), keyledger.__path__
pathlib.Path("/tmp/x").write_text("x")
pathlib.Path("/var/lib/keyledger/probe").write_text("x")
"""


class Engine:
    """What stands in for Docker: a rehearsal that is told what to do line by line."""

    def __init__(self, process: subprocess.Popen[str], steps: Path, log: Path) -> None:
        self._process, self._steps, self._log = process, steps, log
        self.health: list[str] = json.loads(self._answer()["health"])

    def tell(self, **what: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def stop(self) -> dict[str, int]:
        """Stop all containers; return their exit codes."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        codes: dict[str, int] = self._answer()["stopped"]
        return codes

    def said(self) -> str:
        """Return the end of what the containers have said."""
        return self._log.read_text(encoding="utf-8")[-3000:]

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, f"the rehearsal ended: {self._steps.read_text(encoding='utf-8')[-3000:]}"
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def _engine(folder: Path) -> Iterator[Engine]:
    """Make the image and hold an engine, in namespaces of its own: with the process all of it is gone."""
    work, steps, log = folder / "rehearsal", folder / "steps.log", folder / "containers.log"
    work.mkdir()
    isolate = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private"]
    program = [sys.executable, "-m", "tests.integration.containers.rehearsal", str(work), str(log)]
    with (
        steps.open("wb") as told,
        subprocess.Popen(
            [*isolate, *program],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        ) as process,
    ):
        # Whatever hangs within it ends with it, and whoever waits for its answer is told.
        patience = threading.Timer(REHEARSAL_SECONDS, process.kill)
        patience.start()
        try:
            yield Engine(process, steps, log)
        finally:
            patience.cancel()
            process.kill()


@contextmanager
def _kafka(folder: Path) -> Iterator[str]:
    kafka = start_kafka(folder)
    try:
        yield kafka.bootstrap
    finally:
        kafka.stop()


class Project:
    """The compose file's project, on this machine's Kafka and Postgres."""

    def __init__(self, folder: Path, *, kafka: str, database: str) -> None:
        self._folder = folder
        self._kafka = kafka
        self._ports = {name: free_port() for name in SERVICES}
        self._secrets = folder / "secrets"
        subprocess.run([str(INFRA / "make-secrets.sh"), str(self._secrets)], check=True, capture_output=True)
        (self._secrets / "database_url").chmod(0o644)
        (self._secrets / "database_url").write_text(database, encoding="ascii")
        for name in COMPOSE["volumes"]:
            self.volume(name).mkdir(mode=0o700)
            os.chown(self.volume(name), USER, USER)

    def volume(self, name: str) -> Path:
        return self._folder / f"volume-{name}"

    def origin(self, name: str) -> str:
        return f"http://127.0.0.1:{self._ports[name]}"

    def container(self, name: str) -> dict[str, Any]:
        described = COMPOSE["services"][name]
        here = {"KEYLEDGER_KAFKA_BOOTSTRAP": self._kafka, "KEYLEDGER_PORT": str(self._ports.get(name, 8700))}
        volumes = [volume.split(":") for volume in described.get("volumes", [])]
        return {
            "name": name,
            "command": described["command"],
            "environment": {
                variable: here.get(variable, str(value)) for variable, value in described["environment"].items()
            }
            | ({"KEYLEDGER_PORT": here["KEYLEDGER_PORT"]} if name in SERVICES else {}),
            "volumes": {target: str(self.volume(source)) for source, target in volumes},
            "secrets": {secret: str(self._secrets / secret) for secret in described.get("secrets", [])},
        }


def _wait_until_healthy(engine: Engine, name: str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (answer := engine.tell(**{"in": name, "command": engine.health}))["code"] != 0:
        assert answer["ended"] is None, f"{name} ended with {answer['ended']}: {engine.said()}"
        assert time.monotonic() < deadline, f"{name} is not healthy: {engine.said()}"


def _reason_to_skip() -> str | None:
    if os.geteuid() != 0 or not may_mount():
        return "this user may not mount here"
    missing = [tool for tool in ("unshare", "setpriv", "chroot", "ldconfig") if shutil.which(tool) is None]
    if missing:
        return f"{missing[0]} is not on this machine"
    if not (Path(sys.base_prefix) / "bin" / "python").exists() or sys.base_prefix == "/usr":
        return "the machine's own Python cannot stand in for the base image's"
    return None


@pytest.mark.kafka
@pytest.mark.postgres
def test_the_images_containers_work_read_only_and_without_privileges(
    server_folder: Path, postgres_database: str
) -> None:
    if (reason := _reason_to_skip()) is not None:
        pytest.skip(reason)
    # A Kafka of its own: the topics have the names that they have everywhere.
    with _kafka(server_folder / "kafka") as kafka, _engine(server_folder) as engine:
        project = Project(server_folder, kafka=kafka, database=postgres_database)
        for job in ONE_SHOTS:
            assert engine.tell(run=project.container(job))["code"] == 0, engine.said()
        for name in SERVICES:
            engine.tell(start=project.container(name))
        for name in SERVICES:
            _wait_until_healthy(engine, name)
            probe = ["python", "-c", PROBE % (USER, USER)]
            assert engine.tell(**{"in": name, "command": probe})["code"] == 0, engine.said()

        root_key = (project.volume("commands") / "root.key").read_text(encoding="ascii").strip()
        with httpx2.Client(headers={"Authorization": f"Bearer {root_key}"}, timeout=120) as client:
            made = client.post(f"{project.origin('commands')}/v1/api-keys", json={"name": "in a container"})
            assert made.status_code == 201, made.text
            seen = {"Keyledger-At-Least": made.headers["Keyledger-Position"]}
            verified = client.get(
                f"{project.origin('verification')}/v1/auth/verify",
                headers={**seen, "Authorization": f"Bearer {made.json()['key']}"},
            )
            assert (verified.status_code, verified.json()["code"]) == (200, "valid")
            listed = client.get(f"{project.origin('directory')}/v1/api-keys/{made.json()['id']}", headers=seen)
            assert listed.status_code == 200, listed.text
            assert client.get(f"{project.origin('anomalies')}/v1/alerts", headers=seen).status_code == 200

        assert engine.stop() == dict.fromkeys(SERVICES, 0), "SIGTERM ends each of them in order"


def test_nginx_accepts_the_gateways_configuration_where_its_services_have_names(server_folder: Path) -> None:
    if (reason := _reason_to_skip()) is not None:
        pytest.skip(reason)
    hosts = server_folder / "hosts"
    hosts.write_text("".join(f"127.0.0.1 {name}\n" for name in SERVICES), encoding="ascii")
    program, *arguments = COMPOSE["services"]["gateway"]["command"]
    there = {"/run/keyledger/": f"{server_folder}/", "/etc/nginx/keyledger.conf": str(INFRA / "nginx" / "compose.conf")}
    command = [program, *(there.get(word, word) for word in arguments), "-t"]
    script = f"mount --bind {hosts} /etc/hosts && exec {shlex.join(command)}"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
