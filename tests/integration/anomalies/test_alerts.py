"""The alerts' read model and its API, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import msgspec
import pytest
from fastapi import Request

from keyledger.domain.permissions import Authority, Role
from keyledger.eventstore.port import CheckpointMoved
from keyledger.runtime.clock import SystemRandomness
from keyledger.web.cursors import Cursors
from keyledger.web.principal import Principal, insufficient
from keyledger_anomalies.api import create_api
from keyledger_anomalies.store import AlertStore
from tests.integration.anomalies.alerts import OnPostgres, OnSqlite, Stored, alert


def principal(organization_id: str, *, operator: bool = False, permission: str = "alerts:read") -> Principal:
    role = Role("r", "R", frozenset({permission}), frozenset())
    return Principal(
        organization_id=organization_id,
        operator=operator,
        key_id="key_1",
        owner_type="user",
        owner_id="user_1",
        authority=Authority(((role,),)),
    )


async def authenticate(request: Request, permission: str) -> Principal:
    """The caller is who the headers say: authentication itself is shown elsewhere."""
    known = {
        "a": principal("org_a"),
        "b": principal("org_b"),
        "operator": principal("org_operator", operator=True),
        "other": principal("org_a", permission="agents:read"),
    }
    caller = known[request.headers["caller"]]
    if not caller.allows(permission):
        raise insufficient(permission)
    return caller


class AlertsApi(Stored):
    """What the read model and its API guarantee, on one database."""

    @pytest.fixture
    async def client(self, store: AlertStore) -> AsyncIterator[httpx2.AsyncClient]:
        app = create_api(store, authenticate, cursors=Cursors(b"k" * 32), randomness=SystemRandomness())
        async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://test") as client:
            yield client

    async def test_an_alert_that_is_delivered_again_is_stored_once(self, store: AlertStore) -> None:
        assert await store.store([alert(1), alert(2)], expected=0, new=2) == [alert(1), alert(2)]
        assert await store.store([alert(2), alert(3)], expected=2, new=4) == [alert(3)]
        found = await store.newest(organization_id="org_a", operator=False, limit=10)
        assert found == [alert(3), alert(2), alert(1)]

    async def test_a_reader_whose_place_was_taken_writes_nothing(self, store: AlertStore) -> None:
        await store.store([alert(1)], expected=0, new=1)
        with pytest.raises(CheckpointMoved, match="no longer at position 0"):
            await store.store([alert(2)], expected=0, new=1)
        assert await store.newest(organization_id="org_a", operator=False, limit=10) == [alert(1)]

    async def test_several_processes_may_make_the_tables_at_once(self, store: AlertStore) -> None:
        await asyncio.gather(*(store.prepare() for _ in range(4)))

    async def test_an_organization_sees_its_own_alerts_only(
        self, store: AlertStore, client: httpx2.AsyncClient
    ) -> None:
        everybodys = [alert(1), alert(2, organization_id="org_b"), alert(3, organization_id=None)]
        await store.store([*everybodys, alert(4, organization_id="org_operator")], expected=0, new=4)
        assert await ids(client, "a") == [1]
        assert await ids(client, "b") == [2]
        assert await ids(client, "operator") == [4, 3]

    async def test_pages_are_newest_first_and_show_each_alert_once(
        self, store: AlertStore, client: httpx2.AsyncClient
    ) -> None:
        await store.store([alert(n, at=n // 3) for n in range(10)], expected=0, new=10)
        seen, cursor = list[int](), ""
        while True:
            answer = await get(client, "a", f"?limit=4{cursor}")
            seen += [int(each["id"][6:]) for each in answer.json()["data"]]
            if answer.json()["next_cursor"] is None:
                assert "link" not in answer.headers
                break
            cursor = f"&cursor={answer.json()['next_cursor']}"
            assert answer.headers["link"] == f'</v1/alerts?limit=4{cursor}>; rel="next"'
        assert seen == list(reversed(range(10)))

    async def test_a_cursor_of_another_organization_or_question_is_refused(
        self, store: AlertStore, client: httpx2.AsyncClient
    ) -> None:
        await store.store([alert(n) for n in range(3)], expected=0, new=3)
        cursor = (await get(client, "a", "?limit=1")).json()["next_cursor"]
        for caller, question in (("b", ""), ("a", "&rule=failed-burst"), ("operator", "")):
            answer = await get(client, caller, f"?limit=1&cursor={cursor}{question}")
            assert (answer.status_code, answer.json()["code"]) == (422, "invalid-request")

    async def test_rule_and_since_narrow_the_answer(self, store: AlertStore, client: httpx2.AsyncClient) -> None:
        await store.store([alert(1, at=1_000_000), alert(2, at=0), alert(3, rule="other")], expected=0, new=3)
        assert await ids(client, "a", "?rule=other") == [3]
        assert await ids(client, "a", "?since=2023-11-14T22:13:21Z") == [1]
        assert await ids(client, "a", "?since=2023-11-14T23:13:21.000001%2B01:00") == []

    @pytest.mark.parametrize(
        "query", ["?limit=0", "?limit=201", "?rul=x", "?since=yesterday", "?since=2023-11-14T22:13:21", "?cursor=x"]
    )
    async def test_a_question_that_makes_no_sense_is_refused(self, client: httpx2.AsyncClient, query: str) -> None:
        answer = await get(client, "a", query)
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")

    async def test_without_the_permission_nothing_is_shown(self, client: httpx2.AsyncClient) -> None:
        answer = await get(client, "other")
        assert (answer.status_code, answer.json()["code"]) == (403, "insufficient-permission")

    async def test_an_alert_is_shown_with_its_times_in_rfc_3339(
        self, store: AlertStore, client: httpx2.AsyncClient
    ) -> None:
        await store.store([alert(1, at=2_500_000)], expected=0, new=1)
        (shown,) = (await get(client, "a")).json()["data"]
        expected = {**msgspec.to_builtins(alert(1)), "attempt_ids": ["a", "b", "c", "d", "e"]}
        expected |= {"first_seen": "2023-11-14T22:13:20Z", "last_seen": "2023-11-14T22:13:22.500000Z"}
        assert shown == expected


class TestSqlite(OnSqlite, AlertsApi): ...


class TestPostgres(OnPostgres, AlertsApi): ...


async def get(client: httpx2.AsyncClient, caller: str, query: str = "") -> Any:
    return await client.get(f"/v1/alerts{query}", headers={"caller": caller})


async def ids(client: httpx2.AsyncClient, caller: str, query: str = "") -> list[int]:
    return [int(each["id"][6:]) for each in (await get(client, caller, query)).json()["data"]]
