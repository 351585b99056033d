"""What nginx makes of bytes that are no request: a refusal in our words, never a 5xx of its own."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.local import NginxServer, render_gateway, start_nginx
from infra.local.ports import free_port
from keyledger.contracts.routes import ROUTES
from tests.security.sockets import exchange

HEADERS = b"Host: x\r\nConnection: close\r\n"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NginxServer]:
    folder = tmp_path_factory.mktemp("gateway")
    document = folder / "openapi.json"
    document.write_text("{}")
    services: dict[str, int] = {route.service: free_port() for route in ROUTES}  # nobody listens there
    server = start_nginx(
        folder / "nginx",
        lambda port: render_gateway(ROUTES, services, port=port, openapi=Path("openapi.json")),
        documents=(document,),
    )
    yield server
    server.stop()


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/api-keys%00 HTTP/1.1\r\n" + HEADERS + b"\r\n",
        b"get /v1/api-keys HTTP/1.1\r\n" + HEADERS + b"\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /v1/api-keys HTTP/1.1\r\n" + HEADERS + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
        b"POST /v1/api-keys HTTP/1.1\r\n" + HEADERS + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0",
        b"POST /v1/api-keys HTTP/1.1\r\n" + HEADERS + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"GET /v1/api-keys HTTP/1.1\r\n" + HEADERS + b"A: " + b"b" * 9000 + b"\r\n\r\n",
        b"GET /v1/api-keys?" + b"a" * 9000 + b" HTTP/1.1\r\n" + HEADERS + b"\r\n",
    ],
    ids=["nul", "method", "http2", "two credentials", "two lengths", "encoding", "long header", "long line"],
)
def test_what_is_no_request_is_refused_as_a_problem(sent: bytes, gateway: NginxServer) -> None:
    head, _, body = exchange(gateway.url, sent).partition(b"\r\n\r\n")
    assert head.split()[1] == b"400"
    assert b"application/problem+json" in head
    assert json.loads(body)["code"] == "malformed-request"


def test_nobody_asks_for_a_refusal_by_its_path(gateway: NginxServer) -> None:
    assert exchange(gateway.url, b"GET /.malformed-request HTTP/1.1\r\n" + HEADERS + b"\r\n").split()[1] == b"404"
