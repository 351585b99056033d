"""A token wherever a caller may put it by mistake, in requests that succeed and in requests that fail in every way."""

import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

import httpx2

from tests.security.sockets import exchange

AT_ONCE: Final = 16
SECRET: Final = slice(-33, -6)
"""The secret's digits in a token."""

PATHS: Final = ("/v1/api-keys", "/v1/auth/verify", "/v1/alerts", "/v1/users", "/no-such-path", "/livez")
HEADERS: Final = (
    "Keyledger-Request-Id",
    "Keyledger-At-Least",
    "traceparent",
    "tracestate",
    "X-Forwarded-For",
    "X-Forwarded-Host",
    "Forwarded",
    "Referer",
    "User-Agent",
    "Origin",
    "If-Match",
    "Prefer",
    "Accept",
    "Accept-Encoding",
    "Cookie",
    "X-Api-Key",
    "Content-Type",
    "Content-Encoding",
)
SCHEMES: Final = ("", "Basic ", "Token ", "bearer ", "Bearer  ", "Bearer,", "Bearer Bearer ", "Digest username=")
BODIES: Final = (
    '{"name": "a", "%s": 1}',
    '{"name": "a", "role": "%s"}',
    '{"name": "a", "expires_at": "%s"}',
    '{"name": "a", "owner": {"type": "user", "id": "%s"}}',
    '{"name": "a", "environment": "%s"}',
    '{"name": "a", "type": "%s"}',
    '{"name": ["%s"]}',
    '{"email": "%s"}',
    '{"name": "%s',
    "%s",
)
"""None of them may be carried out: a name is kept, and so is what somebody writes into one."""


KEPT: Final = (
    '{"name": "%s"}',
    '{"name": "my key %s, do not lose it"}',
    '{"name": "a", "description": "%s"}',
    '{"name": "a", "email": "%s@example.org"}',
)
"""What is kept of a body must not be a token; of a secret's digits alone nobody can say what they are."""


class Misplacer:
    """Sends one token about; keeps what others would see of it: every answer but those that hand it out."""

    def __init__(self, origin: str, root: str, token: str) -> None:
        self._origin, self._root, self._token = origin, root, token
        self._client = httpx2.Client(base_url=origin, timeout=5)
        self.answers = list[bytes]()

    def close(self) -> None:
        self._client.close()

    def everywhere(self) -> None:
        """Send it in each place of a request, once for each kind of answer that place can lead to."""
        with ThreadPoolExecutor(AT_ONCE) as at_once:  # where a server is away, each waits for its own time limit
            for answers in (
                at_once.map(self._sent, self._requests()),
                at_once.map(self._exchanged, self._no_requests()),
            ):
                self.answers += answers

    def as_credential(self) -> None:
        """Send it where it belongs, in requests that are carried out, refused, and sent again."""
        own = {"Authorization": f"Bearer {self._token}"}
        for method, path in (("GET", "/v1/auth/verify"), ("GET", "/v1/api-keys"), ("GET", "/v1/alerts")):
            self._send(method, path, own)
        self._send("GET", "/v1/auth/verify?permission=a:b", own)
        self._send("GET", "/v1/auth/verify?permission=" + "x" * 5000, own)
        for body in ('{"name": "by itself"}', "{}", "not json", '{"name": "' + "n" * 300 + '"}'):
            self._send("POST", "/v1/api-keys", own | {"Content-Type": "application/json"}, body)
        self._send("POST", "/v1/api-keys", own | {"Content-Type": "text/plain"}, "{}")
        self._send("POST", "/v1/api-keys", own | {"Content-Type": "application/json"}, '{"name": "' + "n" * 2_000_000)
        self._send("PUT", "/v1/api-keys", own)
        self._send("GET", "/v1/nothing", own)

    def _sent(self, request: httpx2.Request) -> bytes:
        try:
            answer = self._client.send(request)
        except httpx2.TransportError:
            return b""  # a service that is away may also hang up
        return _head(answer) + answer.content

    def _exchanged(self, sent: bytes) -> bytes:
        try:
            return exchange(self._origin, sent)
        except OSError:
            return b""

    def _send(self, method: str, path: str, headers: dict[str, str], body: str = "") -> None:
        with suppress(httpx2.TransportError):
            answer = self._client.request(method, path, headers=headers, content=body.encode())
            if not _shows_a_key(answer):
                self.answers.append(_head(answer) + answer.content)

    def _requests(self) -> Iterator[httpx2.Request]:
        token, secret, root = self._token, self._token[SECRET], {"Authorization": f"Bearer {self._root}"}
        document, build = {**root, "Content-Type": "application/json"}, self._client.build_request
        for path in PATHS:
            for text in (token, secret):
                yield build("GET", path, params={"api_key": text, "permission": text, "cursor": text, "since": text})
                yield build("GET", f"{path}/{text}", headers=root)
                yield build("POST", f"{path}/{text}/rotate", headers=root)
                yield build("DELETE", f"{path}/{text}", headers=root)
                yield build("GET", f"{path}/{text[:-1]}-", headers=root)
            yield build("TRACE", path, headers={"Authorization": f"Bearer {token}"})
            for name in HEADERS:
                yield build("GET", path, headers={name: token, "Authorization": f"Bearer {token}"})
                yield build("GET", path, headers={**root, name: f"{secret} {token}"})
            for scheme in SCHEMES:
                yield build("GET", path, headers={"Authorization": scheme + token})
            basic = base64.b64encode(f"key:{token}".encode()).decode()
            yield build("GET", path, headers={"Authorization": f"Basic {basic}"})
            yield build("GET", path, headers={"Authorization": f"Bearer {token[:-1]}-"})
            yield build("GET", path, headers={"Authorization": f"Bearer {token}" + "x" * 9000})
            yield build("GET", path, headers=[("Authorization", f"Bearer {token}"), ("Authorization", "Bearer x")])
            yield build("GET", path, headers={b"Authorization": b"Bearer \xe4" + token.encode()})
            yield build(
                "GET",
                path,
                headers={
                    b"Authorization": f"Bearer {self._root}".encode(),
                    b"Keyledger-At-Least": b"\xff" + token.encode(),
                },
            )
        for template in BODIES:
            for text in (token, secret):
                headers = {**document, "Idempotency-Key": text}
                yield build("POST", "/v1/api-keys", headers=headers, content=(template % text).encode())
                yield build("POST", "/v1/users", headers=headers, content=(template % text).encode())
                yield build("PATCH", f"/v1/api-keys/{text}", headers=headers, content=(template % text).encode())
        for template in KEPT:
            for path in ("/v1/api-keys", "/v1/users", "/v1/teams", "/v1/service-accounts"):
                yield build("POST", path, headers=document, content=(template % token).encode())
            yield build(
                "PATCH", f"/v1/api-keys/key_{token[7:29]}", headers=document, content=(template % token).encode()
            )
        yield build("POST", "/v1/api-keys", headers=root, content=token.encode() * 30_000)
        yield build("POST", "/v1/api-keys", headers={**root, "Content-Encoding": "gzip"}, content=token.encode())

    def _no_requests(self) -> Iterator[bytes]:
        token = self._token.encode()
        for line in (token, token + b" / HTTP/1.1", b"GET " + token + b" HTTP/1.1", b"GET / " + token):
            yield line + b"\r\nHost: x\r\nConnection: close\r\n\r\n"
        start = b"GET /v1/auth/verify HTTP/1.1\r\nConnection: close\r\n"
        for header in (b"Host: " + token, token + b": x", b"Host: x\r\n" + token, b"Host: x\r\n : " + token):
            yield start + header + b"\r\n\r\n"
        yield start + b"Host: x\r\nContent-Length: " + token + b"\r\n\r\n"
        yield start + b"Host: x\r\nTransfer-Encoding: " + token + b"\r\n\r\n"
        yield start + b"Host: x\r\nTransfer-Encoding: chunked\r\n\r\n" + token + b"\r\n"
        yield start + b"Host: x\r\nA: " + token * 2000 + b"\r\n\r\n"


def _head(answer: httpx2.Response) -> bytes:
    return b"".join(name + b": " + value + b"\r\n" for name, value in answer.headers.raw)


def _shows_a_key(answer: httpx2.Response) -> bool:
    """Say whether it made a key, whose holder is shown the secret this once."""
    made = answer.is_success and answer.headers.get("content-type") == "application/json"
    return made and "key" in answer.json()
