"""Read models are built anew while they serve, and while keys are made, verified and revoked."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import count
from typing import Any

import httpx2
import pytest

from tests.e2e.operator import command, environment_of
from tests.e2e.profiles import Distributed, Embedded
from tests.e2e.world import DEADLINE_SECONDS, answered

NAMES = ("directory", "alerts", "verification")

pytestmark = pytest.mark.xdist_group("e2e")


class Traffic:
    """Makes a key, verifies it, revokes it, verifies it, again and again; says what was wrong."""

    def __init__(self, client: httpx2.Client, root_key: str) -> None:
        self._client = client
        self._root = {"Authorization": f"Bearer {root_key}"}
        self._stopped = threading.Event()
        self.rounds = 0
        self.kept: set[str] = set()
        self.wrong: list[str] = []

    def _go_on(self) -> None:
        for number in count():
            if self._stopped.is_set() or self.wrong:
                return
            made = self._ask("POST", "/v1/api-keys", self._root, json={"name": f"key {number}"})
            key_id, token = made.json()["id"], made.json()["key"]
            self._expect(200, token, made.headers["Keyledger-Position"])
            written = {**self._root, "Keyledger-At-Least": made.headers["Keyledger-Position"]}
            listed = self._ask("GET", f"/v1/api-keys/{key_id}", written)
            if listed.status_code != 200:
                self.wrong.append(f"round {number}: the directory says {listed.status_code}")
            if number % 2:
                ended = self._ask("DELETE", f"/v1/api-keys/{key_id}", self._root)
                self._expect(401, token, ended.headers["Keyledger-Position"])
                self._expect(401, token, None)
            else:
                self.kept.add(key_id)
            self.rounds += 1

    def _ask(self, method: str, path: str, headers: dict[str, str], **more: Any) -> httpx2.Response:
        return answered(partial(self._client.request, method, path, headers=headers, **more))

    def _expect(self, status: int, token: str, at_least: str | None) -> None:
        """Ask; without a position too: what was once seen may never look older again."""
        waiting = {} if at_least is None else {"Keyledger-At-Least": at_least}
        answer = self._ask("GET", "/v1/auth/verify", {"Authorization": f"Bearer {token}", **waiting})
        if answer.status_code != status:
            self.wrong.append(f"round {self.rounds}: {answer.status_code} where {status} must be: {answer.text}")

    @contextmanager
    def flowing(self) -> Iterator[None]:
        with ThreadPoolExecutor(1) as beside:
            going = beside.submit(self._go_on)
            try:
                yield
            finally:
                self._stopped.set()
            going.result()

    def listed(self) -> set[str]:
        """Return the ids of all living keys."""
        found, path = set[str](), "/v1/api-keys?limit=100"
        while path:
            page = self._client.get(path, headers=self._root)
            found |= {key["id"] for key in page.json()["data"]}
            path = page.links["next"]["url"] if "next" in page.links else ""
        return found


def rebuilt_while_it_serves(profile: Embedded | Distributed, environment: dict[str, str]) -> None:
    with httpx2.Client(base_url=profile.origin, timeout=DEADLINE_SECONDS) as client:
        traffic = Traffic(client, profile.root_key())
        with traffic.flowing():
            said = [command(environment, "projections", "rebuild", name, "--wait", "120") for name in NAMES]
            again = traffic.rounds
            said += [command(environment, "projections", "rebuild", "directory", "--wait", "120")]
        assert traffic.kept <= traffic.listed()
    assert traffic.wrong == []
    assert traffic.rounds > again > 0, "it went on all the time"
    assert all("serves what was built now" in each and "are the same at position" in each for each in said)
    listed = command(environment, "projections", "list")
    assert "building" not in listed, "what served before is deleted"


def test_in_one_process_every_read_model_is_built_anew_while_it_serves(embedded: Embedded) -> None:
    rebuilt_while_it_serves(embedded, environment_of(embedded.process.pid))


@pytest.mark.kafka
@pytest.mark.postgres
def test_on_kafka_and_postgres_every_read_model_is_built_anew_while_it_serves(distributed: Distributed) -> None:
    pid = distributed.service_pids()["directory"]
    rebuilt_while_it_serves(distributed, environment_of(pid))
