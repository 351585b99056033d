"""The alerts' read model and its API, on both databases."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import structlog
from fastapi import Request

from keyledger.contracts.alert import Alert
from keyledger.contracts.cloudevents import MalformedRecord
from keyledger.contracts.topics import ALERTS
from keyledger.domain.permissions import Authority, Role
from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.port import NewRecord, Record
from keyledger.eventstore.port import CheckpointMoved
from keyledger.projections.sql import open_engine
from keyledger.projections.sql_read_model import SqlGeneration
from keyledger.runtime.clock import SystemClock, SystemRandomness
from keyledger.web.cursors import Cursors
from keyledger.web.principal import Principal, insufficient
from keyledger_anomalies.alerts import AlertPublisher, alert_record
from keyledger_anomalies.api import create_api
from keyledger_anomalies.projector import AlertProjector, fill, understood
from keyledger_anomalies.store import AlertsTable, AlertStore
from tests.unit.projections.following import until

START = 1_700_000_000 * 1_000_000
DEADLINE_SECONDS = 120


def alert(number: int, *, organization_id: str | None = "org_a", rule: str = "failed-burst", at: int = 0) -> Alert:
    return Alert(
        id=f"alert_{number:022}",
        rule=rule,
        severity="medium",
        title="5 failed attempts from 192.0.2.1 within 10 minutes",
        organization_id=organization_id,
        subject="192.0.2.1",
        first_seen=START,
        last_seen=START + at,
        count=5,
        attempt_ids=("a", "b", "c", "d", "e"),
    )


def principal(organization_id: str, *, operator: bool = False, permission: str = "alerts:read") -> Principal:
    role = Role("r", frozenset({permission}), frozenset())
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


class AlertsApi:
    """What the read model and its API guarantee, on one database."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    async def store(self, url: str) -> AsyncIterator[AlertStore]:
        engine = open_engine(url, schema="anomalies" if url.startswith("postgres") else None)
        store = AlertStore(engine)
        await store.prepare()
        yield store
        await engine.dispose()

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

    async def test_each_new_alert_of_the_topic_is_one_log_line_however_often_it_is_published(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        async with alerts_log(tmp_path) as log:
            publish = AlertPublisher(log)
            await publish([alert(1), alert(2)])
            await publish([alert(2), alert(3)])
            projector = AlertProjector(log, store, clock=SystemClock())
            with structlog.testing.capture_logs() as lines:
                await caught_up(projector)
            assert [line["alert"] for line in lines if line["event"] == "alert"] == [alert(n).id for n in (1, 2, 3)]
            assert {line["log_level"] for line in lines} == {"warning"}
            await publish.close()
            assert await store.next_offset() == 4

    async def test_a_topic_that_was_lost_is_read_anew_and_stores_nothing_twice(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        told = []
        for folder, published in (("before", [1, 2, 3]), ("after", [3, 4])):
            (tmp_path / folder).mkdir()
            async with alerts_log(tmp_path / folder) as log:
                publish = AlertPublisher(log)
                await publish([alert(number) for number in published])
                with structlog.testing.capture_logs() as lines:
                    await read_up_to(len(published), AlertProjector(log, store, clock=SystemClock()), store)
                told += [line["alert"] for line in lines if line["event"] == "alert"]
                await publish.close()
        assert told == [alert(number).id for number in (1, 2, 3, 4)]

    async def test_a_record_that_is_no_alert_stops_the_projector_before_it(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        async with alerts_log(tmp_path) as log:
            producer = await log.producer()
            await producer.send(ALERTS.name, 0, [NewRecord(None, b"{}", (("ce_type", b"keyledger.AlertRaised"),))])
            await producer.close()
            with pytest.raises(MalformedRecord, match="offset 0: no alert"):
                await AlertProjector(log, store, clock=SystemClock()).run()
            assert await store.next_offset() == 0

    async def test_a_record_that_holds_no_alert_is_parked_and_the_others_are_stored(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        async with alerts_log(tmp_path) as log:
            publish, producer = AlertPublisher(log), await log.producer()
            await publish([alert(1)])
            await producer.send(ALERTS.name, 0, [unreadable(2)])
            await publish([alert(3)])
            await read_up_to(4, AlertProjector(log, store, clock=SystemClock()), store)
            found = await store.newest(organization_id="org_a", operator=False, limit=10)
            (told,) = await store.newest(organization_id="org_operator", operator=True, limit=10)
            (parked,) = (await store.parked()).values()
            assert [one.id for one in found] == [alert(3).id, alert(1).id]
            assert (told.rule, told.subject) == ("stream-parked", alert(2).id)
            assert (parked.stream, parked.offset, parked.reason) == (
                alert(2).id,
                1,
                "it cannot be decoded: ValidationError",
            )
            projector = AlertProjector(log, store, clock=SystemClock())
            running = asyncio.create_task(projector.run())
            await until(lambda: bool(projector.parked) and projector.parked[alert(2).id].tries > 1, running)
            await store.request_retry([alert(2).id])
            await until(lambda: projector.parked[alert(2).id].tries > 2, running)
            await publish([alert(2)])  # said again, and readable
            await until(lambda: not projector.parked, running)
            running.cancel()
            await asyncio.wait({running})
            assert await store.parked() == {}
            assert len(await store.newest(organization_id="org_operator", operator=True, limit=10)) == 1
            await publish.close()
            await producer.close()

    async def test_a_rebuild_tells_nothing_again_and_takes_over_while_alerts_come(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        async with alerts_log(tmp_path) as log:
            publish = AlertPublisher(log)
            await publish([alert(number) for number in range(5)])
            projector = AlertProjector(log, store, clock=SystemClock())
            with structlog.testing.capture_logs() as lines:
                running = asyncio.create_task(projector.run())
                await until(lambda: projector.unready() is None, running)
                built = await store.begin()
                await fill(log, built, 3)
                await store.offer(built)
                await until(lambda: store.current.generation == built.generation, running)
                await publish([alert(5)])
                await until(lambda: len(lines) >= 6, running)
                running.cancel()
                await asyncio.wait({running})
            assert [line["alert"] for line in lines if line["event"] == "alert"] == [alert(n).id for n in range(6)]
            found = await store.newest(organization_id="org_a", operator=False, limit=10)
            assert [one.id for one in found] == [alert(n).id for n in (5, 4, 3, 2, 1, 0)]
            await publish.close()

    async def test_a_rebuild_that_is_deleted_while_it_takes_over_ends_nobody(
        self, store: AlertStore, tmp_path: Path
    ) -> None:
        class Deleting(AlertStore):
            """An operator deletes what was offered in the moment in which it is found."""

            found = 0

            async def successor(self) -> SqlGeneration[Alert, AlertsTable] | None:
                offered = await super().successor()
                if offered is not None:
                    self.found += 1
                    await self.discard(offered)
                return offered

        async with alerts_log(tmp_path) as log:
            publish = AlertPublisher(log)
            await publish([alert(1)])
            await store.offer(await store.begin())
            serving = Deleting(store.engine)
            running = asyncio.create_task(AlertProjector(log, serving, clock=SystemClock()).run())
            await until(lambda: serving.found > 0, running)
            await publish([alert(2)])
            async with asyncio.timeout(DEADLINE_SECONDS):
                while len(await serving.newest(organization_id="org_a", operator=False, limit=10)) < 2:
                    await asyncio.wait({running}, timeout=0.01)
                    assert not running.done()
            running.cancel()
            await asyncio.wait({running})
            await publish.close()

    async def test_a_raised_generation_tells_nothing_that_was_told(self, store: AlertStore, tmp_path: Path) -> None:
        async with alerts_log(tmp_path) as log:
            publish = AlertPublisher(log)
            await publish([alert(number) for number in range(3)])
            await read_up_to(3, AlertProjector(log, store, clock=SystemClock()), store)
            await publish([alert(3)])
            raised = AlertStore(store.engine, generation=2)
            with structlog.testing.capture_logs() as lines:
                running = asyncio.create_task(AlertProjector(log, raised, clock=SystemClock()).run())
                await until(lambda: bool(lines), running)
                running.cancel()
                await asyncio.wait({running})
            assert [line["alert"] for line in lines if line["event"] == "alert"] == [alert(3).id]
            found = await raised.newest(organization_id="org_a", operator=False, limit=10)
            assert len(found) == 4
            await publish.close()


@pytest.mark.parametrize("title", [b'"\xff"', b"[" * 9000], ids=["no text", "no end"])
def test_what_cannot_be_read_at_all_is_parked_too(title: bytes) -> None:
    sent = alert_record(alert(1))
    value = sent.value.replace(b'"5 failed attempts from 192.0.2.1 within 10 minutes"', title)
    assert title in value
    _, (parked,) = understood([Record(ALERTS.name, 0, 7, 0, sent.key, value, sent.headers)])
    assert (parked.stream, parked.offset) == (alert(1).id, 7)
    assert "cannot be decoded" in parked.reason


def unreadable(number: int) -> NewRecord:
    """Return the record of an alert that only a later version can read."""
    record = alert_record(alert(number))
    return msgspec.structs.replace(record, value=record.value.replace(b'"medium"', b'"enormous"'))


class TestSqlite(AlertsApi):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'alerts.db'}"


@pytest.mark.postgres
class TestPostgres(AlertsApi):
    @pytest.fixture
    def url(self, postgres_database: str) -> str:
        return postgres_database


@asynccontextmanager
async def alerts_log(folder: Path) -> AsyncIterator[EmbeddedLog]:
    log = await EmbeddedLog.open(folder / "log.db")
    await log.ensure_topics([ALERTS])
    try:
        yield log
    finally:
        await log.close()


async def caught_up(projector: AlertProjector) -> None:
    running = asyncio.create_task(projector.run())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while projector.unready() is not None and not running.done():  # noqa: ASYNC110 - asked, as a probe does
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def read_up_to(offset: int, projector: AlertProjector, store: AlertStore) -> None:
    running = asyncio.create_task(projector.run())
    async with asyncio.timeout(DEADLINE_SECONDS):
        while await store.next_offset() != offset and not running.done():  # noqa: ASYNC110 - asked, as a probe does
            await asyncio.sleep(0.01)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def get(client: httpx2.AsyncClient, caller: str, query: str = "") -> Any:
    return await client.get(f"/v1/alerts{query}", headers={"caller": caller})


async def ids(client: httpx2.AsyncClient, caller: str, query: str = "") -> list[int]:
    return [int(each["id"][6:]) for each in (await get(client, caller, query)).json()["data"]]
