"""A real nginx with a configuration, folder and user of its own; the machine's nginx is neither used nor touched."""

import contextlib
import http.client
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from infra.local.ports import LOOPBACK, free_port, is_taken
from infra.local.processes import Process, ServerFailed, Started, nobody, run, spawn, wait_until_ready
from infra.local.templates import INFRA
from infra.local.unprivileged import as_unprivileged, unprivileged_folder

READY_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class NginxServer:
    """An nginx that answers at `url`; its own files (`access.log`, `error.log`) are in `folder`."""

    process: Process
    url: str
    folder: Path

    @property
    def pid(self) -> int:
        """The master's process id."""
        return self.process.pid

    def stop(self) -> None:
        """End the master and its workers, without waiting for open connections."""
        self.process.stop(grace_seconds=10)


def start_nginx(
    data_dir: Path,
    render: Callable[[int], str],
    port: int | None = None,
    *,
    documents: tuple[Path, ...] = (),
    started: Started = nobody,
) -> NginxServer:
    """Start an nginx and return once it answers.

    Args:
        data_dir: Holds `nginx.log` and the folder `nginx` (or a link to it) with everything nginx writes.
        render: Makes the configuration for a port; relative paths in it are below that folder.
        port: The loopback port; a free one if None.
        documents: Files that are copied into the folder, where nginx's unprivileged user can read them.
        started: Told of the process as soon as it exists.

    Raises:
        ServerFailed: nginx is missing, the port is taken, the configuration is refused, or it did not come up.
    """
    port = port or free_port()
    if is_taken(port):
        raise ServerFailed(f"nginx cannot have port {port}: something else listens there")
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.resolve() / "nginx.log"
    folder = unprivileged_folder(data_dir / "nginx")
    for document in (INFRA / "nginx" / "proxy.conf", *documents):
        _place(folder / document.name, document.read_bytes())
    _place(folder / "nginx.conf", render(port).encode())
    command = ["nginx", "-p", f"{folder}/", "-c", "nginx.conf", "-e", "error.log", "-g", "daemon off;"]
    run("checking nginx's configuration", as_unprivileged([*command, "-t", "-q"]), log=log)
    process = spawn("nginx", as_unprivileged(command), log=log)
    try:
        started(process)
        wait_until_ready(process, lambda: answers(port), deadline_seconds=READY_SECONDS)
    except BaseException:
        process.stop()
        raise
    return NginxServer(process=process, url=f"http://{LOOPBACK}:{port}", folder=folder)


def answers(port: int, path: str = "/", *, status: int | None = None) -> bool:
    """Say whether something speaks HTTP on a loopback port, with this status if one is named."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    with contextlib.suppress(OSError, http.client.HTTPException), contextlib.closing(connection):
        connection.request("GET", path)
        return status in (None, connection.getresponse().status)
    return False


def _place(target: Path, content: bytes) -> None:
    target.write_bytes(content)
    target.chmod(0o644)
