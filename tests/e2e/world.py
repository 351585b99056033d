"""What a scenario's steps act on: a running Keyledger, the keys made so far, and the last answer."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

import httpx2

DEADLINE_SECONDS = 120.0
Answer = TypeVar("Answer")


class Profile(Protocol):
    """A running Keyledger, of whatever kind."""

    origin: str

    def root_key(self) -> str: ...
    def restart(self) -> None: ...
    def kill_and_start(self) -> None: ...


@dataclass
class NamedKey:
    """A key by the name that the scenario gives it. ``token`` and ``old_token`` never reach a test's output."""

    id: str
    token: str = field(repr=False)
    old_token: str | None = field(default=None, repr=False)
    expires_at: float | None = None


@dataclass
class World:
    """One scenario's run."""

    profile: Profile
    keys: dict[str, NamedKey] = field(default_factory=dict)
    users: dict[str, str] = field(default_factory=dict)
    last: httpx2.Response | None = None
    position: str | None = None

    def request(self, method: str, path: str, *, by: str, json: Any = None) -> httpx2.Response:
        """Send a management request with the named key, and wait on reads for what was written before."""
        headers = {"Authorization": f"Bearer {self.keys[by].token}"}
        if method == "GET" and self.position is not None:
            headers["Keyledger-At-Least"] = self.position
        with httpx2.Client(base_url=self.profile.origin, timeout=DEADLINE_SECONDS) as client:

            def ask() -> httpx2.Response:
                return client.request(method, path, headers=headers, json=json)

            answer = answered(ask) if method == "GET" else ask()
        self.position = answer.headers.get("Keyledger-Position", self.position)
        self.last = answer
        return answer

    def verify(self, token: str, *, source: str = "127.0.0.1", permission: str | None = None) -> httpx2.Response:
        """Present a token to the verifier from a loopback address, reading what was written before."""
        asked = {} if permission is None else {"permission": permission}
        headers = {"Authorization": f"Bearer {token}"}
        if self.position is not None:
            headers["Keyledger-At-Least"] = self.position
        transport = httpx2.HTTPTransport(local_address=source)
        with httpx2.Client(base_url=self.profile.origin, transport=transport, timeout=DEADLINE_SECONDS) as client:
            return answered(lambda: client.get("/v1/auth/verify", headers=headers, params=asked))


def answered(ask: Callable[[], httpx2.Response]) -> httpx2.Response:
    """Ask until a read model no longer says that it is behind, as it may on a machine under load."""
    return eventually(ask, lambda answer: answer.status_code != httpx2.codes.SERVICE_UNAVAILABLE, "it is answered")


def eventually(ask: Callable[[], Answer], holds: Callable[[Answer], bool], what: str) -> Answer:
    """Ask until the answer holds; AssertionError with ``what`` after the deadline."""
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not holds(answer := ask()):
        assert time.monotonic() < deadline, f"within {DEADLINE_SECONDS:.0f} s: {what}"
        time.sleep(0.05)
    return answer
