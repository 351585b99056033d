"""The image without Docker: the Dockerfile's steps over this machine's file system, and containers that start from it.

Root only. ``python -m tests.integration.containers.rehearsal FOLDER LOG`` runs in mount and process namespaces of its
own, so that nothing it mounts or starts outlives it. What stands in for the base image is this machine's system, with
the Python that runs us at /usr/local. Not shown by it: Docker's network, its limits, and its own building.
"""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from infra.containers.dockerfile import Instruction, Stage, read_stages
from infra.local.templates import PROJECT

SYSTEM_PATH: Final = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
HIDDEN: Final = ("root", "home", "work", "tmp", str(PROJECT).lstrip("/"))
"""What no image has: the project itself above all. Each is an empty folder in a container."""
INSTALLER_SETTINGS: Final = ("PIP_", "UV_", "SSL_", "REQUESTS_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
STOP_SECONDS: Final = 60.0


@dataclass
class Root:
    """A file system: this machine's, under what was written to it here."""

    folder: Path
    written: Path = field(init=False)
    at: Path = field(init=False)

    def __post_init__(self) -> None:
        self.written, self.at = self.folder / "written", self.folder / "root"
        for path in (self.written, self.folder / "work", self.at):
            path.mkdir(parents=True)
        _mount("overlay", self.at, lowerdir="/", upperdir=self.written, workdir=self.folder / "work")
        # pip, of the base image too, installs beside Python.
        python, work = self.folder / "python", self.folder / "python-work"
        python.mkdir()
        work.mkdir()
        _mount("overlay", self.at / "usr" / "local", lowerdir=sys.base_prefix, upperdir=python, workdir=work)
        _mount_devices(self.at)
        self.run("ldconfig", {}, "/")

    def run(self, script: str, environment: dict[str, str], directory: str) -> None:
        """Run a step as the builder does: as root, in the directory. Raises CalledProcessError."""
        inherited = {name: value for name, value in os.environ.items() if name.startswith(INSTALLER_SETTINGS)}
        named = {"PATH": SYSTEM_PATH, "HOME": "/root", **inherited, **environment}
        settings = [f"{name}={value}" for name, value in named.items()]
        shell = ["bash", "-o", "errexit", "-o", "pipefail", "-c", script]
        subprocess.run(
            ["chroot", str(self.at), "env", "-i", "-C", directory, *settings, *shell], check=True, stdout=sys.stderr
        )


def build(folder: Path) -> tuple[Root, Stage]:
    """Carry out the Dockerfile; return the file system of the image, and its stage."""
    roots: dict[str, Root] = {}
    for stage in (stages := read_stages()):
        roots[stage.name] = _built(Root(folder / (stage.name or "image")), stage, roots)
    return roots[stages[-1].name], stages[-1]


def _built(root: Root, stage: Stage, before: dict[str, Root]) -> Root:
    directory = "/"
    environment: dict[str, str] = {}
    for step in stage.steps:
        match step.name:
            case "RUN":
                root.run(step.text, environment, directory)
            case "WORKDIR":
                directory = step.text
                (root.at / directory.lstrip("/")).mkdir(parents=True, exist_ok=True)
            case "COPY":
                _copy(step, root, directory, before)
            case "ENV":
                environment |= filled(stage)
            case "SHELL" | "LABEL" | "USER" | "VOLUME" | "EXPOSE" | "HEALTHCHECK" | "CMD":
                pass  # the shell is the one of `run`; the rest is for whoever starts a container
            case _:
                raise NotImplementedError(f"{step.name} is not rehearsed")
    return root


def filled(stage: Stage) -> dict[str, str]:
    """Return the stage's environment, the system's path filled in."""
    return {name: value.replace("$PATH", SYSTEM_PATH) for name, value in stage.environment.items()}


def _copy(step: Instruction, root: Root, directory: str, before: dict[str, Root]) -> None:
    *sources, target = (word for word in step.words if not word.startswith("--from="))
    origin = next((before[word.partition("=")[2]].at for word in step.words if word.startswith("--from=")), PROJECT)
    into = root.at / os.path.join(directory, target).lstrip("/")  # noqa: PTH118 - an absolute target wins
    for source in sources:
        found = origin / source.lstrip("/")
        if found.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", "*.pyc") if origin == PROJECT else None
            shutil.copytree(found, into, symlinks=True, dirs_exist_ok=True, ignore=ignored)
        else:
            shutil.copy2(found, into)


@dataclass(frozen=True)
class Container:
    """One container, as compose would start it. ``volumes`` and ``secrets``: folders and files of this machine."""

    name: str
    command: list[str]
    environment: dict[str, str]
    volumes: dict[str, str]
    secrets: dict[str, str]


class Running:
    """A container's file system, read-only but for its volumes and /tmp, and what runs in it."""

    def __init__(self, image: Root, stage: Stage, container: Container, folder: Path) -> None:
        self._stage, self._container = stage, container
        self._at = folder / "root"
        self._at.mkdir(parents=True)
        _mount("overlay", self._at, lowerdir=f"{image.written}:/")
        subprocess.run(["mount", "--bind", sys.base_prefix, str(self._at / "usr" / "local")], check=True)
        subprocess.run(["mount", "-o", "remount,bind,ro", str(self._at / "usr" / "local")], check=True)
        _mount_devices(self._at)
        for hidden in HIDDEN:
            if (self._at / hidden).is_dir():
                _mount("tmpfs", self._at / hidden, mode="1777" if hidden == "tmp" else "0755")
        _mount("tmpfs", self._at / "run", mode="0755")
        (self._at / "run" / "secrets").mkdir()
        for name, source in container.secrets.items():
            shutil.copy2(source, self._at / "run" / "secrets" / name)
        for target, source in container.volumes.items():
            subprocess.run(["mount", "--bind", source, str(self._at / target.lstrip("/"))], check=True)

    def command(self, words: list[str]) -> list[str]:
        """Return the call that runs a command in the container: as its user, with no capability and no way to one."""
        user, _, group = self._stage.last("USER").text.partition(":")
        environment = filled(self._stage) | self._container.environment
        settings = [f"{name}={value}" for name, value in environment.items()]
        become = ["setpriv", "--reuid", user, "--regid", group, "--clear-groups"]
        without = ["--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
        directory = self._stage.last("WORKDIR").text
        return ["chroot", str(self._at), *become, *without, "env", "-i", "-C", directory, *settings, *words]

    def start(self, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the container's own command."""
        return subprocess.Popen(self.command(self._container.command), stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def run(self, words: list[str], log: IO[bytes]) -> int:
        """Run something beside it and return its exit code."""
        return subprocess.run(self.command(words), check=False, stdout=log, stderr=log).returncode


def _mount(kind: str, at: Path, **options: Path | str) -> None:
    told = ",".join(f"{name}={value}" for name, value in options.items())
    subprocess.run(["mount", "-t", kind, kind, "-o", told, str(at)], check=True)


def _mount_devices(root: Path) -> None:
    subprocess.run(["mount", "--rbind", "/dev", str(root / "dev")], check=True)
    subprocess.run(["mount", "-t", "proc", "proc", str(root / "proc")], check=True)


def _say(**said: Any) -> None:
    sys.stdout.write(json.dumps(said) + "\n")
    sys.stdout.flush()


def main(folder: Path) -> int:
    """Build, say so, and do what comes on standard input, a line of JSON each; at its end stop everything.

    ``{"start": container}``, ``{"run": container}`` (to its end), ``{"in": name, "command": [...]}``; each is answered.
    """
    _mount("tmpfs", folder, size="4g", mode="0755")
    image, stage = build(folder)
    _say(built=True, health=stage.last("HEALTHCHECK").text.partition(" CMD ")[2])
    started: dict[str, tuple[Running, subprocess.Popen[bytes]]] = {}
    with Path(sys.argv[2]).open("ab") as log:
        for line in sys.stdin:
            told = json.loads(line)
            match told:
                case {"start": container}:
                    one = Running(image, stage, Container(**container), folder / container["name"])
                    started[container["name"]] = (one, one.start(log))
                    _say(started=container["name"])
                case {"run": container}:
                    one = Running(image, stage, Container(**container), folder / container["name"])
                    _say(code=one.run(container["command"], log))
                case {"in": name, "command": words}:
                    one, process = started[name]
                    _say(code=one.run(words, log), ended=process.poll())
                case _:
                    raise ValueError(told)
        for _, process in started.values():
            process.terminate()
        _say(stopped={name: process.wait(STOP_SECONDS) for name, (_, process) in started.items()})
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
