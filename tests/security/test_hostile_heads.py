"""What a stranger may send before any of our code is asked who it is."""

import pytest

from tests.e2e.profiles import Embedded
from tests.security.sockets import connect, exchange, sent_until_refused

pytestmark = pytest.mark.xdist_group("attacked")

VERIFY = b"GET /v1/auth/verify HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
HANDSHAKE = (
    b"Host: x\r\nConnection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize(
    ("path", "status"), [(b"/v1/auth/verify", b"401"), (b"/v1/api-keys", b"401"), (b"/livez", b"200"), (b"/x", b"404")]
)
def test_a_websocket_handshake_is_answered_as_the_request_that_it_is(
    path: bytes, status: bytes, attacked: Embedded
) -> None:
    answer = exchange(attacked.origin, b"GET " + path + b" HTTP/1.1\r\n" + HANDSHAKE)
    assert answer.split()[1] == status


def test_a_header_without_end_is_refused_before_it_fills_the_memory(attacked: Embedded) -> None:
    chunks, answer = sent_until_refused(attacked.origin, VERIFY + b"A: ", b"b" * 65536, most=1000)
    assert chunks < 500, "the kernel holds some megabytes for a slow reader, and no more"
    assert answer[:12] in (b"HTTP/1.1 400", b"")  # empty: the connection was reset under what was still sent


@pytest.mark.parametrize("header", [b"X-Forwarded-For: 1\r\n", b"A: " + b"b" * 1000 + b"\r\n"])
def test_headers_of_more_than_64_kib_are_refused(header: bytes, attacked: Embedded) -> None:
    count = 70 * 1024 // len(header)
    assert exchange(attacked.origin, VERIFY + header * count + b"\r\n")[:12] == b"HTTP/1.1 400"


def test_headers_as_long_as_a_gateway_passes_on_are_read(attacked: Embedded) -> None:
    assert exchange(attacked.origin, VERIFY + b"A: " + b"b" * 32 * 1024 + b"\r\n\r\n")[:12] == b"HTTP/1.1 401"


def test_a_long_body_is_no_long_head_wherever_it_is_cut(attacked: Embedded) -> None:
    body = b'{"name": "' + b"a" * 200_000 + b'"}'
    head = b"POST /v1/api-keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
    head += b"Authorization: Bearer " + attacked.root_key().encode() + b"\r\nContent-Length: %d\r\n\r\n" % len(body)
    for cut in (10, len(head) - 1, len(head), len(head) + 100_000):
        with connect(attacked.origin) as connection:
            connection.sendall((head + body)[:cut])
            connection.sendall((head + body)[cut:])
            assert connection.recv(65536)[:12] == b"HTTP/1.1 422"


def test_requests_in_a_row_are_no_long_head(attacked: Embedded) -> None:
    asked = b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    answer = exchange(attacked.origin, asked * 5000 + VERIFY + b"\r\n")
    assert answer.count(b"HTTP/1.1 200") == 5000
    assert answer.count(b"HTTP/1.1 401") == 1


def test_what_is_no_http_writes_no_line_into_the_log(attacked: Embedded) -> None:
    log = attacked.data_dir.parent / "serve.log"
    before = log.read_bytes()
    for garbage in (b"\x16\x03\x01\x02\x00\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", VERIFY + b"A: \x01\r\n\r\n"):
        assert exchange(attacked.origin, garbage)[:12] == b"HTTP/1.1 400"
    assert exchange(attacked.origin, b"GET /livez HTTP/1.1\r\n" + HANDSHAKE)[:12] == b"HTTP/1.1 200"
    assert log.read_bytes() == before
