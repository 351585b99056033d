"""A secret stands nowhere, not even where its own holder put it by mistake."""

import time
from pathlib import Path

import httpx2
import pytest

from tests.e2e.profiles import Embedded

pytestmark = pytest.mark.xdist_group("e2e")

DIGITS = slice(-33, -6)
"""The secret's digits in a token."""


def test_a_token_that_is_sent_in_the_wrong_place_is_written_nowhere(attacked: Embedded) -> None:
    origin, root = attacked.origin, {"Authorization": f"Bearer {attacked.root_key()}"}
    with httpx2.Client(base_url=origin, headers=root) as client:
        token = client.post("/v1/api-keys", json={"name": "lost"}).json()["key"]
        misplaced = {"Keyledger-Request-Id": token, "traceparent": token, "Keyledger-At-Least": token}
        client.post("/v1/api-keys", headers={**misplaced, "Idempotency-Key": token}, json={"name": "made"})
        client.get("/v1/api-keys", headers=misplaced)
        for path in ("/v1/api-keys", "/v1/auth/verify", "/v1/alerts"):
            client.get(path, headers={"Keyledger-Request-Id": token})
            client.get(path, params={"api_key": token})
            client.get(path, params={"permission": f"{token}:read"})
            client.get(f"{path}/{token}")
        client.get("/v1/auth/verify", headers={"Authorization": f"Bearer {token[:-1]}-"})
        written = _attempts_written(client)
        shown = client.get("/metrics").content
    secret = token[DIGITS].encode()
    assert written
    assert secret not in shown
    assert _holding(secret, attacked.data_dir.parent) == []
    assert _holding(attacked.root_key()[DIGITS].encode(), attacked.data_dir.parent) == [attacked.data_dir / "root.key"]


def _attempts_written(client: httpx2.Client) -> bool:
    """Return True once no attempt waits for the log any more."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if "keyledger_verifier_attempts_waiting 0.0" in client.get("/metrics").text:
            return True
    return False


def _holding(secret: bytes, folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and secret in path.read_bytes()]
