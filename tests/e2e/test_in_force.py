"""In one process an answered change is in force: its own verifier has applied it when the answer comes."""

import httpx2
import pytest

from keyledger_standalone.build import IN_FORCE_SECONDS
from tests.e2e.profiles import Embedded

pytestmark = pytest.mark.xdist_group("e2e")

ROUNDS = 30


@pytest.mark.parametrize("end", ["revoke", "rotate"])
def test_in_one_process_no_key_works_after_the_answer_that_ends_it(embedded: Embedded, end: str) -> None:
    manager = {"Authorization": f"Bearer {embedded.root_key()}"}
    with httpx2.Client(base_url=embedded.origin, timeout=60) as client:
        for number in range(ROUNDS):
            created = client.post("/v1/api-keys", headers=manager, json={"name": f"short-lived {number}"})
            bearer = {"Authorization": f"Bearer {created.json()['key']}"}
            living = client.get(
                "/v1/auth/verify", headers={**bearer, "Keyledger-At-Least": created.headers["Keyledger-Position"]}
            )
            assert living.status_code == 200
            path = f"/v1/api-keys/{created.json()['id']}"
            ended = (
                client.delete(path, headers=manager)
                if end == "revoke"
                else client.post(path + "/rotate", headers=manager)
            )
            assert ended.is_success
            after = client.get("/v1/auth/verify", headers=bearer)
            # The one exception is told: an answer that was waited for as long as it may be.
            assert after.status_code == 401 or ended.elapsed.total_seconds() >= IN_FORCE_SECONDS, number
