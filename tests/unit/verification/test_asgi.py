import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from keyledger.contracts.freshness import Head
from keyledger.domain.events import KeyDisabled, KeyRevoked
from keyledger.domain.identifiers import resource_id
from keyledger.verification.token import mint
from tests.unit.verification.nodes import Answered, Place, running, until
from tests.unit.verification.world import STORE, T0

WRONG_SECRET = b"another secret, 20 b"


class Shop(Place):
    """An organization with keys in every condition, and another one."""

    def __init__(self, folder: Path, *, bound: bool = False) -> None:
        organizations = (resource_id("org", 1),) if bound else ()
        super().__init__(folder, proxies=[ip_network("10.0.0.0/8")], organizations=organizations)
        facts = self.facts
        self.org, other = facts.organization(1), facts.organization(2)
        self.user = facts.user(self.org, 1, roles=("developer",))
        self.key_id, self.token = facts.key(self.org, self.user, 1, name="deploy", metadata={"customer": "acme"})
        _, self.expired = facts.key(self.org, self.user, 2, expires_at=T0 - timedelta(days=1))
        revoked, self.revoked = facts.key(self.org, self.user, 3)
        facts.append(revoked, KeyRevoked(organization_id=self.org, key_id=revoked))
        disabled, self.disabled = facts.key(self.org, self.user, 5)
        facts.append(disabled, KeyDisabled(organization_id=self.org, key_id=disabled))
        _, self.foreign = facts.key(other, facts.user(other, 2), 4)
        self.wrong = mint("dev", self.key_id, WRONG_SECRET)
        self.unknown = mint("dev", "key_" + "1" * 22, WRONG_SECRET)


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    shop = Shop(tmp_path)
    async with running(shop):
        await shop.publish()
        await shop.beat()
        await until(lambda: shop.node.started)
        yield shop


def without_request_id(answered: Answered) -> tuple[int, dict[str, str], Any]:
    headers = {name: value for name, value in answered.headers.items() if name != "keyledger-request-id"}
    body = answered.body.replace(answered.headers["keyledger-request-id"].encode(), b"")
    return answered.status, headers, body


async def test_200_says_whose_key_it_is(shop: Shop) -> None:
    answered = await shop.ask(shop.token)
    assert answered.status == 200
    fresh_as_of = answered.json.pop("fresh_as_of")
    body = answered.json
    assert body.pop("fresh_as_of") == fresh_as_of
    assert fresh_as_of.endswith("Z")
    assert body == {
        "valid": True,
        "code": "valid",
        "key_id": shop.key_id,
        "name": "deploy",
        "type": "personal",
        "organization_id": shop.org,
        "owner": {"type": "user", "id": shop.user},
        "role": "developer",
        "permissions": ["*:read", "agents:create", "agents:update"],
        "environment": "dev",
        "expires_at": None,
        "metadata": {"customer": "acme"},
        "position": f"position-{len(shop.facts.entries)}",
    }
    assert answered.headers["content-type"] == "application/json"
    assert answered.headers["content-length"] == str(len(answered.body))
    assert answered.headers["cache-control"] == "no-store"


async def test_head_has_the_headers_of_get_and_no_body(shop: Shop) -> None:
    get, head = await shop.ask(shop.token), await shop.ask(shop.token, method="HEAD")
    assert head.body == b""
    assert (head.status, head.headers["content-length"]) == (200, get.headers["content-length"])


async def test_401_without_a_credential_says_how_to_send_one(shop: Shop) -> None:
    for headers in (
        [],
        [(b"authorization", b"")],
        [(b"authorization", b"Basic abc")],
        [(b"authorization", b"Bearer ")],
    ):
        answered = await shop.ask(headers=headers)
        assert (answered.status, answered.json["code"]) == (401, "missing-credential")
        assert answered.json["type"] == "urn:keyledger:problem:missing-credential"
        assert answered.headers["content-type"] == "application/problem+json"
        assert answered.headers["www-authenticate"] == 'Bearer realm="keyledger"'
        assert answered.headers["cache-control"] == "no-store"


async def test_401_for_every_failing_credential_is_alike_byte_for_byte(shop: Shop) -> None:
    failing = [shop.wrong, shop.unknown, "nonsense", shop.token[:-1] + "_", "x" * 10_000]
    answers = [await shop.ask(token) for token in failing]
    assert len({str(without_request_id(answered)) for answered in answers}) == 1
    assert answers[0].json["code"] == "invalid-credential"
    assert not any(name in answers[0].json for name in ("key_id", "organization_id", "name"))


async def test_401_for_a_foreign_key_is_that_of_an_unknown_one(tmp_path: Path) -> None:
    shop = Shop(tmp_path, bound=True)
    async with running(shop):
        await shop.publish()
        await shop.beat()
        await until(lambda: shop.node.started)
        assert (await shop.ask(shop.token)).status == 200
        foreign, unknown = await shop.ask(shop.foreign), await shop.ask(shop.unknown)
        assert without_request_id(foreign) == without_request_id(unknown)
        assert {one.organization_id for one in await shop.told(3)} == {shop.org}


async def test_401_tells_the_holder_of_a_right_secret_what_happened(shop: Shop) -> None:
    assert (await shop.ask(shop.expired)).json["code"] == "expired"
    assert (await shop.ask(shop.revoked)).json["code"] == "revoked"
    disabled = await shop.ask(shop.disabled)
    assert (disabled.status, disabled.json["code"]) == (401, "disabled")


async def test_403_when_the_role_does_not_contain_the_permission(shop: Shop) -> None:
    assert (await shop.ask(shop.token, query=b"permission=agents:create")).status == 200
    assert (await shop.ask(shop.token, query=b"permission=agents%3Acreate")).status == 200
    refused = await shop.ask(shop.token, query=b"permission=api-keys:create")
    assert (refused.status, refused.json["code"]) == (403, "insufficient-permission")
    assert "www-authenticate" not in refused.headers


@pytest.mark.parametrize(
    "query",
    [
        b"permissions=agents:read",
        b"permission=agents:read&permission=agents:read",
        b"permission=",
        b"permission=agents",
        b"permission=agents:read&x=1",
        b"permission=%ff:read",
        b"\xff\xfe",
        b"&&&",
        b"permission",
        b"a=1&" * 50,
        b"permission=" + b"x" * 200 + b":read",
    ],
)
async def test_400_for_a_query_that_is_not_understood(shop: Shop, query: bytes) -> None:
    answered = await shop.ask(shop.token, query=query)
    assert (answered.status, answered.json["code"]) == (400, "malformed-request")


async def test_400_for_a_key_in_the_url_says_to_rotate_it_and_repeats_nothing(shop: Shop) -> None:
    answered = await shop.ask(query=f"api_key={shop.token}".encode())
    assert (answered.status, answered.json["code"]) == (400, "malformed-request")
    assert "Authorization: Bearer" in answered.json["detail"]
    assert "rotate" in answered.json["detail"]
    assert shop.token not in answered.body.decode()
    assert shop.token not in (await shop.ask(query=shop.token.encode())).body.decode()


async def test_400_for_two_different_credentials_and_200_for_the_same_one_twice(shop: Shop) -> None:
    other = [(b"authorization", f"Bearer {shop.wrong}".encode())]
    same = [(b"authorization", f"Bearer {shop.token}".encode())]
    answered = await shop.ask(shop.token, headers=other)
    assert (answered.status, answered.json["code"]) == (400, "ambiguous-credential")
    assert (await shop.ask(shop.token, headers=same)).status == 200
    assert (await shop.ask(shop.token, headers=[*same, *other])).status == 400


async def test_the_scheme_is_case_insensitive_and_the_token_is_not(shop: Shop) -> None:
    for scheme in ("bearer", "BEARER", "Bearer  "):
        assert (await shop.ask(headers=[(b"authorization", f"{scheme} {shop.token}".encode())])).status == 200
    assert (await shop.ask(shop.token.upper())).status == 401


@pytest.mark.parametrize("raw", [b"Bearer \xff\xfe", b"\x80", b"Bearer " + "é".encode(), b"Bearer \x00", b"Bearer a b"])
async def test_bytes_that_no_token_has_are_refused_and_never_a_500(shop: Shop, raw: bytes) -> None:
    answered = await shop.ask(headers=[(b"authorization", raw), (b"x-forwarded-for", b"\xff")])
    assert answered.status == 401


async def test_404_elsewhere_and_405_for_other_methods(shop: Shop) -> None:
    assert (await shop.ask(shop.token, path="/v1/auth/verify/")).json["code"] == "not-found"
    answered = await shop.ask(shop.token, method="DELETE")
    assert (answered.status, answered.json["code"]) == (405, "method-not-allowed")
    assert answered.headers["allow"] == "GET, HEAD"


async def test_a_well_formed_request_id_is_kept_and_another_one_replaced(shop: Shop) -> None:
    for given, kept in ((b"trace-1.2_x", True), (b"x" * 64, True), (b"x" * 65, False), (b"a b", False), (b"", False)):
        answered = await shop.ask(shop.wrong, headers=[(b"keyledger-request-id", given)])
        said = answered.headers["keyledger-request-id"]
        assert (said.encode() == given) is kept
        assert answered.json["request_id"] == said


async def test_at_least_waits_until_the_position_is_applied(shop: Shop) -> None:
    place = len(shop.facts.entries) + 1
    waiting = asyncio.create_task(shop.ask(shop.token, headers=[(b"keyledger-at-least", f"position-{place}".encode())]))
    await asyncio.sleep(0)
    assert not waiting.done()
    shop.facts.append(shop.key_id, KeyRevoked(organization_id=shop.org, key_id=shop.key_id))
    await shop.publish()
    answered = await asyncio.wait_for(waiting, 60)
    assert (answered.status, answered.json["code"]) == (401, "revoked")


async def test_503_when_the_position_is_not_applied_in_time(shop: Shop) -> None:
    place = len(shop.facts.entries) + 1
    answered = await shop.ask(shop.token, headers=[(b"keyledger-at-least", f"position-{place}".encode())])
    assert (answered.status, answered.json["code"]) == (503, "projection-behind")
    assert answered.headers["retry-after"] == "1"


async def test_400_for_a_position_token_that_is_none_or_that_the_ledger_never_gave_out(shop: Shop) -> None:
    answered = await shop.ask(shop.token, headers=[(b"keyledger-at-least", b"forged \xff")])
    assert (answered.status, answered.json["code"]) == (400, "invalid-position-token")
    asking = asyncio.create_task(shop.ask(shop.token, headers=[(b"keyledger-at-least", b"position-9999")]))
    while not asking.done():  # a head must be made after the request by more than the clocks may differ
        await shop.beat()
        await asyncio.wait([asking], timeout=0.05)
    answered = await asking
    assert (answered.status, answered.json["code"]) == (400, "invalid-position-token")


async def test_every_outcome_is_told_with_what_is_known_of_it(shop: Shop) -> None:
    for token in (shop.token, shop.wrong, shop.unknown, shop.expired, shop.revoked, None):
        await shop.ask(token, headers=[(b"keyledger-request-id", b"req-1")])
    await shop.ask(shop.token, query=b"permission=users:create")
    attempts = await shop.told(7)
    assert [one.code for one in attempts] == [
        "valid",
        "invalid-credential",
        "invalid-credential",
        "expired",
        "revoked",
        "missing-credential",
        "insufficient-permission",
    ]
    good, wrong, unknown, *_, missing, denied = attempts
    assert (good.key_id, good.organization_id, good.environment) == (shop.key_id, shop.org, "dev")
    assert good.secret_id is not None
    assert (wrong.key_id, wrong.organization_id, wrong.secret_id, wrong.fingerprint) == (
        shop.key_id,
        shop.org,
        None,
        None,
    )
    assert (unknown.key_id, unknown.organization_id) == (None, None)
    assert unknown.fingerprint is not None
    assert (missing.key_id, missing.fingerprint) == (None, None)
    assert denied.permission == "users:create"
    assert {(one.source, one.request_id) for one in attempts[:-1]} == {("192.0.2.1", "req-1")}


async def test_the_source_is_found_through_a_trusted_proxy_only(shop: Shop) -> None:
    forwarded = [(b"x-forwarded-for", b"203.0.113.1"), (b"x-forwarded-for", b"198.51.100.7")]
    await shop.ask(shop.token, client=("10.1.2.3", 1), headers=forwarded)
    await shop.ask(shop.token, client=("192.0.2.9", 1), headers=forwarded)
    await shop.ask(shop.token, client=None, headers=forwarded)
    assert [one.source for one in await shop.told(3)] == ["198.51.100.7", "192.0.2.9", "unknown"]


async def test_a_failure_inside_is_a_500_that_shows_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = Shop(tmp_path)
    broken.node.freshness.admitted = True
    now = broken.clock.now()
    broken.node.freshness.heard(Head(store=STORE, position=0, at=now), now=now)
    broken.index.close()
    answered = await broken.ask(broken.token)
    assert (answered.status, answered.json["code"]) == (500, "internal")
    assert broken.token not in answered.body.decode()
    assert broken.token not in caplog.text
    assert "failed" in caplog.text
