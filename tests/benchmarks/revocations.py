"""From the answer to a DELETE until the verifier refuses the key: how long a revoked key still works."""

import contextlib
import time
from pathlib import Path

import httpx2

from tests.benchmarks.report import Row, quantile
from tests.e2e.profiles import Distributed, Embedded, running

ROUNDS = 200


def measure(folder: Path) -> list[Row]:
    """Return the distribution on both profiles, idle, in milliseconds."""
    with running(Embedded, folder / "embedded") as embedded:
        rows = [_row("one process", embedded)]
    with running(Distributed, folder / "distributed") as distributed:
        return [*rows, _row("Kafka and Postgres", distributed)]


def _row(name: str, profile: Embedded | Distributed) -> Row:
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(httpx2.Client(base_url=profile.origin, timeout=10)) for _ in range(2)]
        delays = [_one(profile.root_key(), *clients) for _ in range(ROUNDS)]
    shares = ", ".join(f"p{share * 100:g} {quantile(delays, share):.2f}" for share in (0.5, 0.9, 0.99, 1.0))
    what = f"{name}: answered revoke -> refused, p99 in ms, {ROUNDS} rounds, idle"
    return Row(what, quantile(delays, 0.99), note=shares)


def _one(root: str, management: httpx2.Client, verifier: httpx2.Client) -> float:
    """Return milliseconds from the DELETE's answer to the first refusal; the question itself is part of it."""
    by_root = {"Authorization": f"Bearer {root}"}
    key = management.post("/v1/api-keys", json={"name": "short-lived"}, headers=by_root)
    path = f"/v1/api-keys/{key.json()['id']}"
    by_key = {"Authorization": f"Bearer {key.json()['key']}"}
    seen = {**by_key, "Keyledger-At-Least": key.headers["Keyledger-Position"]}
    assert verifier.get("/v1/auth/verify", headers=seen).status_code == 200
    assert management.delete(path, headers=by_root).status_code == 204
    answered = time.perf_counter()
    while verifier.get("/v1/auth/verify", headers=by_key).status_code == 200:
        pass
    return (time.perf_counter() - answered) * 1000
