"""The servers of one test run: started once by whichever worker asks first, stopped by the run's controller."""

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.local import ServerFailed, start_kafka, start_postgres
from infra.local.processes import Process, Started, identify
from infra.local.state import ClusterState, exclusive
from tests.providers.containers import (
    Container,
    docker_answers,
    start_kafka_container,
    start_postgres_container,
    stop_container,
)

PREFIX = "keyledger-tests-"
ServerName = Literal["kafka", "postgres"]


class NoServerError(Exception):
    """No provider could give this server; the message says why."""


@dataclass(frozen=True, slots=True)
class Provider:
    in_docker: Callable[[], Container]
    here: Callable[[Path, Started], str]


def _kafka(folder: Path, started: Started) -> str:
    return start_kafka(folder, started=started).bootstrap


def _postgres(folder: Path, started: Started) -> str:
    # No password: the server lives for one run, on the loopback address, and holds invented data.
    return start_postgres(folder, trust=True, started=started).url


PROVIDERS: dict[ServerName, Provider] = {
    "kafka": Provider(start_kafka_container, _kafka),
    "postgres": Provider(start_postgres_container, _postgres),
}


class TestRun:
    """One run's folder: what was started, and where it answers. All workers of a run see the same one."""

    __test__ = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def begin(cls) -> "TestRun":
        """Make the folder of a new run, after clearing away what killed runs have left behind."""
        for stale in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
            _clear_if_abandoned(stale)
        folder = reachable_folder()
        ClusterState(folder / "controller.json").add(identify("pytest", os.getpid()))
        return cls(folder)

    def address(self, name: ServerName) -> str:
        """Return where the server answers, starting it if this is the first to ask.

        Raises:
            NoServerError: There is none. Those who ask later get the same reason at once.
        """
        answer = self.folder / f"{name}.json"
        with exclusive(self.folder / f"{name}.lock"):
            if not answer.exists():
                answer.write_text(json.dumps(self._start(name)), encoding="utf-8")
        found: dict[str, str] = json.loads(answer.read_text(encoding="utf-8"))
        if "reason" in found:
            raise NoServerError(found["reason"])
        return found["address"]

    def _start(self, name: ServerName) -> dict[str, str]:
        provider = PROVIDERS[name]
        reasons = ["no URL in the environment"]
        if docker_answers():
            try:
                container = provider.in_docker()
            except ServerFailed as failure:
                reasons.append(str(failure))
            else:
                (self.folder / f"{name}.container").write_text(container.container_id, encoding="utf-8")
                return {"address": container.address}
        else:
            reasons.append("no Docker daemon answers")
        try:
            return {"address": provider.here(self.folder / name, self._state(name).add)}
        except ServerFailed as failure:
            return {"reason": "; ".join([*reasons, f"not startable here: {failure}"])}

    def end(self) -> None:
        """Stop every server of the run and remove its folder."""
        for name in PROVIDERS:
            for process in self._state(name).processes():
                process.stop()
            container = self.folder / f"{name}.container"
            if container.exists():
                stop_container(container.read_text(encoding="utf-8"))
        shutil.rmtree(self.folder)

    def _state(self, name: ServerName) -> ClusterState:
        return ClusterState(self.folder / f"{name}.processes.json")


def reachable_folder() -> Path:
    """Make a temporary folder that the user of Postgres and nginx may pass through."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    folder.chmod(0o711)
    return folder


def _clear_if_abandoned(folder: Path) -> None:
    """End what a run left whose controller was killed. Only our own folders count: anybody may write to /tmp."""
    with contextlib.suppress(FileNotFoundError):  # another run is clearing it, or ended meanwhile
        if folder.stat().st_uid != os.geteuid():
            return
        controllers: list[Process] = ClusterState(folder / "controller.json").processes()
        if controllers and not any(controller.is_running() for controller in controllers):
            TestRun(folder).end()
