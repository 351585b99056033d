"""The two ways in which Keyledger runs: one process, and a process per service on Kafka and Postgres."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import httpx2

from infra.local.cluster import PORTS, SERVICES, Cluster, cluster_from_environment
from infra.local.ports import free_port, free_row

READY_SECONDS = 180.0
ENDED_SECONDS = 120.0
COMMAND_SECONDS = 600.0
"""A cluster's start is over at once when one of its processes has ended."""
PROGRAM = str(Path(sys.executable).parent / "keyledger")


def environment(data_dir: Path, port: int, **settings: str) -> dict[str, str]:
    """Return this process's environment with a Keyledger's settings in the place of its own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KEYLEDGER_")}
    return {**kept, "KEYLEDGER_DATA_DIR": str(data_dir), "KEYLEDGER_PORT": str(port), **settings}


def wait_until_ready(origin: str, process: subprocess.Popen[bytes] | None = None) -> None:
    """Return once ``/readyz`` answers 200; AssertionError when the process ends or the deadline passes."""
    deadline = time.monotonic() + READY_SECONDS
    with httpx2.Client(timeout=10.0) as client:
        while True:
            assert process is None or process.poll() is None, "the process ended before it was ready"
            assert time.monotonic() < deadline, f"{origin} is not ready after {READY_SECONDS:.0f} s"
            try:
                if client.get(f"{origin}/readyz").status_code == 200:
                    return
            except httpx2.TransportError:
                pass  # nobody listens yet
            time.sleep(0.02)


class Embedded:
    """``keyledger serve`` in one process of its own."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        port = free_port()
        self.data_dir, self.origin = data_dir, f"http://127.0.0.1:{port}"
        self._environment = environment(data_dir, port, **settings)
        data_dir.parent.mkdir(parents=True, exist_ok=True)
        self._log = data_dir.parent / "serve.log"
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            process = subprocess.Popen(
                [PROGRAM, "serve"], env=self._environment, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        wait_until_ready(self.origin, process)
        return process

    def root_key(self) -> str:
        return (self.data_dir / "root.key").read_text(encoding="ascii").strip()

    def restart(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(ENDED_SECONDS) == 0, "a stop by SIGTERM ends with exit code 0"
        self.process = self._start()

    def kill_and_start(self) -> None:
        self.process.kill()
        self.process.wait(ENDED_SECONDS)
        self.process = self._start()

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(ENDED_SECONDS)


class Distributed:
    """What ``make cluster`` starts, in a data folder and at ports of its own."""

    def __init__(self, data_dir: Path, **settings: str) -> None:
        port = free_row(PORTS)
        self.data_dir, self.origin = data_dir, f"http://127.0.0.1:{port}"
        self._environment = environment(data_dir, port, **settings)
        self._run("up")

    @property
    def cluster(self) -> Cluster:
        return cluster_from_environment(self._environment)

    @property
    def kafka_bootstrap(self) -> str:
        return f"127.0.0.1:{self.cluster.kafka_ports[0]}"

    def _run(self, command: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "infra.local", command],
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]

    def root_key(self) -> str:
        return (self.data_dir / "root.key").read_text(encoding="ascii").strip()

    def restart(self) -> None:
        self._run("down")
        self._run("up")

    def kill_and_start(self) -> None:
        for pid in self.service_pids().values():
            os.kill(pid, signal.SIGKILL)
        self._run("down")
        self._run("up")

    def service_pids(self) -> dict[str, int]:
        """Return each service's process id."""
        return {process.name: process.pid for process in self.cluster.state.processes() if process.name in SERVICES}

    def stop(self) -> None:
        self._run("down")


Profile = TypeVar("Profile", Embedded, Distributed)


@contextmanager
def running(kind: type[Profile], folder: Path, **settings: str) -> Iterator[Profile]:
    """Start a profile in a folder of its own and stop it at the end, whatever happens."""
    profile = kind(folder / "data", **settings)
    try:
        yield profile
    finally:
        profile.stop()
