"""A real Postgres on the loopback address, durable (`fsync` on), never run as root."""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.ports import LOOPBACK, free_port, is_taken
from infra.local.processes import Process, ServerFailed, Started, nobody, open_private, run, spawn, wait_until_ready
from infra.local.unprivileged import as_unprivileged, give_to_unprivileged, unprivileged_folder

READY_SECONDS = 120.0
USER = "keyledger"
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "fsync": "on",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A failed statement, and the row it failed on, may carry what must not be in a log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A server that answers at `url` (`postgresql://user[:password]@127.0.0.1:port/database`)."""

    process: Process
    url: str = field(repr=False)  # may hold the password

    @property
    def pid(self) -> int:
        """The postmaster's process id."""
        return self.process.pid

    def stop(self) -> None:
        """End the server at once and cleanly, whoever is connected; its data stays."""
        self.process.stop(grace_seconds=30)


def start_postgres(
    data_dir: Path,
    port: int | None = None,
    *,
    database: str = "keyledger",
    trust: bool = False,
    started: Started = nobody,
) -> PostgresServer:
    """Start Postgres on `data_dir`, new or used before, and return once it answers and `database` exists.

    Args:
        data_dir: Holds `postgres.log` and the folder `postgres` (or a link to it) with data and password.
        port: The loopback port; a free one if None.
        database: Made if it does not exist.
        trust: Ask no password on the loopback address: for tests, which make and drop everything. Otherwise
            SCRAM-SHA-256 with a generated password, in a file only the server's user (and root) can read. It is
            decided when the data folder is first made.
        started: Told of the process as soon as it exists.

    Raises:
        ServerFailed: The binaries are missing, the port is taken, or the server did not come up.
    """
    binaries = postgres_binaries()
    port = port or free_port()
    if is_taken(port):
        raise ServerFailed(f"Postgres cannot have port {port}: something else listens there")
    data_dir.mkdir(parents=True, exist_ok=True)
    log = data_dir.resolve() / "postgres.log"
    folder = unprivileged_folder(data_dir / "postgres")
    password = _password(folder, trust=trust)
    if not (folder / "data").exists():
        _initialise(binaries, folder, log, trust=trust)
    settings = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    command = [str(binaries / "postgres"), "-D", str(folder / "data"), "-p", str(port), *settings]
    # SIGINT is Postgres's fast shutdown; SIGTERM would wait until every client has gone.
    process = spawn("postgres", as_unprivileged(command), log=log, stop_signal=signal.SIGINT)
    try:
        started(process)
        wait_until_ready(process, lambda: _answers(binaries, port), deadline_seconds=READY_SECONDS)
        _make_database(binaries, port, database, password, log)
    except BaseException:
        process.stop()
        raise
    login = f"{USER}:{password}" if password else USER
    return PostgresServer(process=process, url=f"postgresql://{login}@{LOOPBACK}:{port}/{database}")


def postgres_binaries() -> Path:
    """Return the folder of the newest Postgres on this machine (Debian's layout, else the PATH's).

    Raises:
        ServerFailed: There is none.
    """
    found = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/postgres")]
    if found:
        return max(found, key=lambda folder: int(folder.parent.name))
    program = shutil.which("postgres")
    if program is None:
        raise ServerFailed("Postgres is not on this machine: run infra/install-debian.sh as root")
    return Path(program).resolve().parent


def _password(folder: Path, *, trust: bool) -> str:
    """Return the password kept beside the data, made at the first call; the empty one where none is asked."""
    path = folder / "password"
    if path.exists():
        return path.read_text(encoding="utf-8")
    if trust or (folder / "data").exists():
        return ""
    password = secrets.token_urlsafe(24)
    with open_private(path, "x") as file:
        file.write(password)
    give_to_unprivileged(path)
    return password


def _initialise(binaries: Path, folder: Path, log: Path, *, trust: bool) -> None:
    partial = folder / "data.partial"
    shutil.rmtree(partial, ignore_errors=True)
    access = ["--auth=trust"] if trust else ["--auth=scram-sha-256", f"--pwfile={folder / 'password'}"]
    # Bytes sort alike on every machine: an order that changes with the C library would break indexes quietly.
    form = ["--encoding=UTF8", "--locale=C", "--data-checksums", f"--username={USER}", f"--pgdata={partial}"]
    run("making the database folder", as_unprivileged([str(binaries / "initdb"), *access, *form]), log=log)
    # Renamed when complete: an interrupted start leaves nothing that looks like a database.
    partial.rename(folder / "data")


def _answers(binaries: Path, port: int) -> bool:
    probe = [str(binaries / "pg_isready"), "--quiet", f"--host={LOOPBACK}", f"--port={port}", "--timeout=2"]
    with contextlib.suppress(subprocess.TimeoutExpired):
        return subprocess.run(probe, check=False, timeout=5).returncode == 0  # noqa: S603 - our own command
    return False


def _make_database(binaries: Path, port: int, database: str, password: str, log: Path) -> None:
    if re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", database) is None:
        raise ValueError(f"not a plain database name: {database!r}")
    sql = f"SELECT 'CREATE DATABASE {database}' WHERE NOT EXISTS"
    sql += f" (SELECT 1 FROM pg_database WHERE datname = '{database}') \\gexec\n"  # noqa: S608 - a plain name
    options = ["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", f"--host={LOOPBACK}"]
    run(
        "making the database",
        [str(binaries / "psql"), *options, f"--port={port}", f"--username={USER}", "--dbname=postgres"],
        log=log,
        environment={**os.environ, "PGPASSWORD": password},
        stdin=sql,
    )
