"""An event that nobody can fold, in a running Keyledger."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from keyledger.contracts.registry import encode
from keyledger.domain.events import TeamCreated
from keyledger.eventstore.opening import open_ledger
from keyledger.runtime.clock import SystemClock
from keyledger.testing.ledger_examples import an_append
from tests.e2e.operator import command, environment_of
from tests.e2e.profiles import Embedded, running
from tests.e2e.world import DEADLINE_SECONDS, eventually


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Embedded]:
    with running(Embedded, tmp_path) as started:
        yield started


@pytest.fixture
def client(fresh: Embedded) -> Iterator["Client"]:
    with httpx2.Client(base_url=fresh.origin, timeout=DEADLINE_SECONDS) as http:
        yield Client(fresh, http)


class Client:
    def __init__(self, keyledger: Embedded, http: httpx2.Client) -> None:
        self._http = http
        self._root = {"Authorization": f"Bearer {keyledger.root_key()}"}

    def create(self) -> tuple[str, str, str]:
        made = self._http.post("/v1/api-keys", json={"name": "a key"}, headers=self._root).json()
        return made["id"], made["key"], made["organization_id"]

    def must_be(self, code: str, token: str) -> None:
        """Ask until the answer is this one; a machine under load may be stale for a while."""

        def asked() -> str:
            answer = self._http.get("/v1/auth/verify", headers={"Authorization": f"Bearer {token}"})
            return str(answer.json()["code"])

        eventually(asked, lambda answer: answer == code, f"the answer is {code}")

    def alerts(self) -> list[dict[str, str]]:
        answer = self._http.get("/v1/alerts", headers=self._root)
        return [alert for alert in answer.json()["data"] if alert["rule"] == "stream-parked"]

    def metrics(self) -> str:
        return self._http.get("/metrics").text


async def plant(keyledger: Embedded, key_id: str, organization_id: str) -> None:
    """Write a fact into a key's stream that can be read, and makes no sense there."""
    event = TeamCreated(organization_id=organization_id, team_id="team_" + "1" * 22, name="misplaced")
    ledger = await open_ledger(f"sqlite:///{keyledger.data_dir / 'ledger.db'}", clock=SystemClock())
    try:
        await ledger.append(an_append(key_id, 1, organization_id=organization_id, events=(encode(event),)))
    finally:
        await ledger.close()


async def test_a_poisoned_event_parks_its_key_and_ends_nothing(fresh: Embedded, client: Client) -> None:
    environment = environment_of(fresh.process.pid)
    poisoned, token, organization_id = client.create()
    _, other, _ = client.create()
    client.must_be("valid", token)
    assert command(environment, "parked", "list") == "nothing is parked\n"
    await plant(fresh, poisoned, organization_id)
    client.must_be("invalid-credential", token)
    _, later, _ = client.create()
    client.must_be("valid", later)
    client.must_be("valid", other)
    told = eventually(client.alerts, lambda alerts: len(alerts) == 2, "an operator is told, for each read model")
    assert {(alert["severity"], alert["subject"]) for alert in told} == {("high", poisoned)}
    assert "keyledger_verifier_parked 1.0" in client.metrics()
    assert "keyledger_directory_parked 1.0" in client.metrics()
    lines = command(environment, "parked", "list").splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [["directory", poisoned], ["verification@local", poisoned]]
    said = command(environment, "parked", "retry", poisoned, "--wait", "120", code=1)
    assert "0 of 1 are parked no more" in said
    assert command(environment, "parked", "retry", "key_unknown") == "nothing of that is parked\n"
    fresh.restart()
    environment = environment_of(fresh.process.pid)
    client.must_be("invalid-credential", token)
    client.must_be("valid", other)
    assert len(client.alerts()) == 2, "told again, it is the same alert"
    assert "are the same" in command(environment, "projections", "rebuild", "verification", "--wait", "120"), (
        "also of what is parked"
    )
    client.must_be("invalid-credential", token)
