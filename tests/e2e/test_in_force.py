"""In one process an answered change is in force: its own verifier has applied it when the answer comes."""

from functools import partial

import httpx2
import pytest

from keyledger_standalone.build import IN_FORCE_SECONDS
from tests.e2e.profiles import Embedded
from tests.e2e.world import answered

pytestmark = pytest.mark.xdist_group("e2e")

ROUNDS = 30


@pytest.mark.parametrize("end", ["revoke", "rotate", "finish a rotation", "disable", "deactivate its owner"])
def test_in_one_process_no_key_works_after_the_answer_that_ends_it(embedded: Embedded, end: str) -> None:
    manager = {"Authorization": f"Bearer {embedded.root_key()}"}
    with httpx2.Client(base_url=embedded.origin, headers=manager, timeout=120) as client:
        for number in range(ROUNDS):
            name = f"short-lived {number}"
            owner = client.post("/v1/users", json={"name": name, "role": "viewer"}).json()["id"]
            created = client.post("/v1/api-keys", json={"name": name, "owner_id": owner})
            bearer = {"Authorization": f"Bearer {created.json()['key']}"}
            since = {"Keyledger-At-Least": created.headers["Keyledger-Position"]}
            ask = partial(client.get, "/v1/auth/verify")
            assert answered(partial(ask, headers={**bearer, **since})).status_code == 200
            path = f"/v1/api-keys/{created.json()['id']}"
            match end:
                case "revoke":
                    ended = client.delete(path)
                case "rotate":
                    ended = client.post(f"{path}/rotate")
                case "disable":
                    ended = client.post(f"{path}/disable")
                case "finish a rotation":
                    client.post(f"{path}/rotate", json={"grace_seconds": 600}).raise_for_status()
                    ended = client.post(f"{path}/rotate/finish")
                case _:
                    ended = client.post(f"/v1/users/{owner}/deactivate")
            assert ended.is_success
            after = answered(partial(ask, headers=bearer))
            # The one exception is told: an answer that was waited for as long as it may be.
            assert after.status_code == 401 or ended.elapsed.total_seconds() >= IN_FORCE_SECONDS, number
