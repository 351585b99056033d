"""``keyledger serve`` as a process: how it starts, how it refuses to, and how it stops."""

import contextlib
import os
import pty
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import httpx2
import pytest

from infra.local.ports import free_port
from tests.e2e.operator import command
from tests.e2e.profiles import ENDED_SECONDS, PROGRAM, Embedded, environment, running, wait_until_ready
from tests.e2e.world import answered, eventually


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Embedded]:
    with running(Embedded, tmp_path) as started:
        yield started


def _refused(settings: Mapping[str, str], folder: Path) -> str:
    """Return what a start that must fail says."""
    done = subprocess.run(
        [PROGRAM, "serve"],
        env={**environment(folder, free_port()), **settings},
        capture_output=True,
        text=True,
        timeout=ENDED_SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stdout == ""
    return done.stderr


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"KEYLEDGER_PORT": "eighty"}, "KEYLEDGER_PORT"),
        ({"KEYLEDGER_PROT": "8700"}, "KEYLEDGER_PROT"),
        ({"KEYLEDGER_PEPPER": "hunter2-hunter2"}, "KEYLEDGER_PEPPER"),
        ({"KEYLEDGER_PEPPER_FILE": "/nowhere/pepper"}, "KEYLEDGER_PEPPER_FILE"),
        ({"KEYLEDGER_DATABASE_URL": "mysql://root:hunter2@localhost/x"}, "KEYLEDGER_DATABASE_URL"),
        ({"KEYLEDGER_DATABASE_URL": "postgresql://keyledger:hunter2@127.0.0.1:1/x"}, "the ledger's database"),
        ({"KEYLEDGER_KAFKA_BOOTSTRAP": "user:hunter2@host:9092"}, "KEYLEDGER_KAFKA_BOOTSTRAP"),
    ],
)
def test_a_wrong_setting_refuses_to_start_with_one_line_that_names_it(
    settings: Mapping[str, str], named: str, tmp_path: Path
) -> None:
    said = _refused(settings, tmp_path)
    assert said.count("\n") == 1
    assert named in said
    assert "hunter2" not in said


@pytest.mark.parametrize("taken", ["", "pepper", "log.db", "ledger.db", "index-local"])
def test_a_data_folder_that_cannot_be_used_refuses_to_start_with_one_line_that_names_it(
    taken: str, tmp_path: Path
) -> None:
    """Something else stands where a file or folder must be; a read-only disk is told in the same way."""
    folder = tmp_path / "data"
    if taken in ("", "index-local"):
        folder.mkdir() if taken else folder.touch()
        (folder / taken).touch()
    else:
        (folder / taken).mkdir(parents=True)
    said = _refused({}, folder)
    assert said.count("\n") == 1
    assert str(folder / taken) in said or "the ledger's database" in said


def test_a_second_one_in_the_same_data_folder_refuses_to_start_whatever_it_is_called(fresh: Embedded) -> None:
    said = _refused({"KEYLEDGER_NODE": "another"}, fresh.data_dir)
    assert said.count("\n") == 1
    assert "another `keyledger serve` runs in" in said
    assert httpx2.get(f"{fresh.origin}/readyz", timeout=ENDED_SECONDS).status_code == 200, (
        "the first one did not notice"
    )


def test_a_port_that_is_taken_refuses_to_start_with_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = _refused({"KEYLEDGER_PORT": str(taken.getsockname()[1])}, tmp_path)
    assert said.count("\n") == 1
    assert "KEYLEDGER_PORT" in said


def test_the_root_key_is_for_its_owner_alone_and_never_in_what_is_printed(fresh: Embedded) -> None:
    assert (fresh.data_dir / "root.key").stat().st_mode & 0o777 == 0o600
    log = fresh.data_dir.parent / "serve.log"
    printed = eventually(
        lambda: log.read_text(encoding="utf-8"), lambda text: "api-keys -H" in text, "the first steps are printed"
    )
    assert str(fresh.data_dir / "root.key") in printed
    assert fresh.root_key() not in printed


def test_the_first_start_shows_the_root_key_on_a_terminal(tmp_path: Path) -> None:
    port = free_port()
    here, there = pty.openpty()
    settings = {**environment(tmp_path / "data", port), "COLUMNS": "200"}
    process = subprocess.Popen([PROGRAM, "serve"], env=settings, stdout=there, stderr=subprocess.DEVNULL)
    os.close(there)
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        printed = b""
        while b"api-keys -H" not in printed:
            printed += os.read(here, 65536)
        assert (tmp_path / "data" / "root.key").read_bytes().strip() in printed
    finally:
        process.kill()
        process.wait(ENDED_SECONDS)
        os.close(here)


def test_a_stop_fails_readiness_first_and_finishes_requests(fresh: Embedded) -> None:
    """A request that waits (for a position that comes late) is answered, though the stop came in between."""
    root = {"Authorization": f"Bearer {fresh.root_key()}"}
    with socket.create_connection(("127.0.0.1", int(fresh.origin.rpartition(":")[2]))) as slow:
        body = b'{"name": "slow"}'
        head = f"POST /v1/api-keys HTTP/1.1\r\nHost: x\r\nAuthorization: {root['Authorization']}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        slow.sendall(head.encode() + body[:5])
        fresh.process.send_signal(signal.SIGTERM)
        assert _readiness_fails(fresh.origin)
        slow.sendall(body[5:])
        status = int(slow.recv(65536).split()[1])
    assert status == 201
    assert fresh.process.wait(ENDED_SECONDS) == 0


def _readiness_fails(origin: str) -> bool:
    deadline = time.monotonic() + ENDED_SECONDS
    with httpx2.Client(timeout=ENDED_SECONDS) as client:
        while time.monotonic() < deadline:
            if client.get(f"{origin}/readyz").status_code == 503:
                return True
    return False


def test_a_kill_loses_no_write_that_was_answered(fresh: Embedded) -> None:
    root = {"Authorization": f"Bearer {fresh.root_key()}"}
    written: list[str] = []

    def fresh_client() -> httpx2.Client:
        return httpx2.Client(base_url=fresh.origin, headers=root, timeout=ENDED_SECONDS)

    def write() -> None:
        with contextlib.suppress(httpx2.TransportError), fresh_client() as client:
            while True:
                answer = client.post("/v1/api-keys", json={"name": "written"})
                if answer.status_code == 201:
                    written.append(answer.json()["id"])

    writers = [threading.Thread(target=write) for _ in range(8)]
    for writer in writers:
        writer.start()

    def count() -> int:
        assert any(writer.is_alive() for writer in writers)
        return len(written)

    eventually(count, lambda number: number >= 200, "enough is written")
    fresh.kill_and_start()
    for writer in writers:
        writer.join()
    with fresh_client() as client:
        found = {answered(partial(client.get, f"/v1/api-keys/{key}")).status_code for key in written}
    assert found == {200}


@pytest.mark.xdist_group("e2e")
def test_the_origin_answers_unknown_paths_and_methods_as_problems(embedded: Embedded) -> None:
    with httpx2.Client(base_url=embedded.origin, timeout=ENDED_SECONDS) as client:
        unknown, wrong = client.get("/v1/nothing"), client.put("/v1/api-keys")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")
    assert (wrong.status_code, wrong.json()["code"]) == (405, "method-not-allowed")
    assert wrong.headers["Allow"] == "GET, HEAD, POST"
    for answer in (unknown, wrong):
        assert answer.json()["request_id"] == answer.headers["Keyledger-Request-Id"]
        assert answer.json()["detail"]


def test_a_ledger_that_was_changed_behind_its_back_is_told_from_a_whole_one(fresh: Embedded) -> None:
    settings = environment(fresh.data_dir, free_port())
    command(settings, "verify-ledger")
    fresh.stop()
    with contextlib.closing(sqlite3.connect(fresh.data_dir / "ledger.db")) as database:
        triggers = database.execute("SELECT name FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'events'")
        for (name,) in triggers.fetchall():
            database.execute(f'DROP TRIGGER "{name}"')
        database.execute("UPDATE events SET data = CAST(replace(data, 'Viewer', 'Victor') AS BLOB) WHERE position = 2")
        database.commit()
    assert "the ledger was changed: position 2" in command(settings, "verify-ledger", code=1)


def test_a_deployment_can_prepare_an_empty_data_folder_step_by_step(tmp_path: Path) -> None:
    settings = environment(tmp_path / "data", free_port())
    for step in ("migrate", "topics", "bootstrap", "verify-ledger"):
        for _ in range(2):  # each changes nothing the second time
            command(settings, step)
    assert (tmp_path / "data" / "root.key").exists()
