import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from keyledger.contracts.freshness import Head
from keyledger.domain.events import SecretEnd
from keyledger.domain.times import microseconds, moment
from keyledger.web.positions import PositionTokens
from tests.integration.directory.serving import POSITIONS, Directory, caller, serving
from tests.unit.projections.written import (
    ANOTHER_STORE,
    ORGANIZATION,
    START,
    STORE,
    USER,
    created,
    deactivated,
    disabled,
    enabled,
    finished,
    key_id,
    personal,
    reactivated,
    renamed,
    revoked,
    rotated,
    user,
)

HOUR = 3_600_000_000


async def secrets(directory: Directory, path: str, **headers: Any) -> list[tuple[str, int | None, int | None]]:
    """Return id, creation and end (us) of a key's secrets as they are shown."""
    shown = (await directory.get(path, **headers)).json()["secrets"]

    def us(time: str | None) -> int | None:
        return None if time is None else microseconds(datetime.fromisoformat(time))

    return [(secret["id"], us(secret["created_at"]), us(secret["ends_at"])) for secret in shown]


class DirectoryApi:
    """What the directory's API guarantees, on one database."""

    @pytest.fixture
    def url(self) -> str:
        raise NotImplementedError

    @pytest.fixture
    async def directory(self, url: str) -> AsyncIterator[Directory]:
        async with serving(url) as directory:
            yield directory

    async def test_a_key_is_shown_with_everything_but_its_secret(self, directory: Directory) -> None:
        expires_at = moment(START + HOUR)
        await directory.relay(
            directory.ledger.add(created(1, description="d", expires_at=expires_at, metadata={"customer": "acme"}))
        )
        answer = await directory.get(f"/v1/api-keys/{key_id(1)}")
        born = moment(START + 1).isoformat().replace("+00:00", "Z")
        assert answer.json() == {
            "id": key_id(1),
            "organization_id": ORGANIZATION,
            "type": "team",
            "owner": {"type": "team", "id": "team_" + "2" * 22},
            "name": "key 1",
            "description": "d",
            "metadata": {"customer": "acme"},
            "role": "viewer",
            "environment": "dev",
            "status": "active",
            "created_at": born,
            "created_by": {"user": "user_" + "3" * 22, "key": "key_" + "4" * 22},
            "updated_at": born,
            "expires_at": expires_at.isoformat().replace("+00:00", "Z"),
            "disabled_at": None,
            "revoked_at": None,
            "revocation_reason": None,
            "rotated_at": None,
            "secrets": [{"id": "1", "created_at": born, "ends_at": None}],
            "version": 1,
        }
        assert answer.headers["etag"] == '"1"'
        assert POSITIONS.read(answer.headers["keyledger-position"]) == 1
        assert answer.headers["cache-control"] == "no-store"

    async def test_changes_are_shown_with_their_version_and_times(self, directory: Directory) -> None:
        ledger = directory.ledger
        await directory.relay(ledger.add(created(1)), ledger.add(renamed(1, "new")), ledger.add(rotated(1)))
        key = (await directory.get(f"/v1/api-keys/{key_id(1)}")).json()
        assert (key["name"], key["description"], key["version"]) == ("new", "", 3)
        assert (
            datetime.fromisoformat(key["rotated_at"]) == datetime.fromisoformat(key["updated_at"]) == moment(START + 3)
        )

    async def test_a_key_shows_which_secrets_work_newest_first_and_until_when(self, directory: Directory) -> None:
        ledger, path = directory.ledger, f"/v1/api-keys/{key_id(1)}"
        later, end = moment(START + 2 * HOUR), moment(START + HOUR)
        graceful = rotated(1, to="2", ended=[SecretEnd(id="1", ends_at=later)])
        await directory.relay(ledger.add(created(1)), ledger.add(graceful))
        assert await secrets(directory, path) == [("2", START + 2, None), ("1", START + 1, START + 2 * HOUR)]
        again = rotated(1, to="3", ended=[SecretEnd(id="2", ends_at=end), SecretEnd(id="1")])
        await directory.relay(ledger.add(again))
        assert await secrets(directory, path) == [("3", START + 3, None), ("2", START + 2, START + HOUR)]
        (listed,) = (await directory.get("/v1/api-keys")).json()["data"]
        version = (await directory.get(path)).headers["etag"]
        assert listed == (await directory.get(path)).json()
        await directory.get(path, 304, if_none_match=version)
        directory.clock.wall = START + HOUR  # the end comes without a new version
        assert await secrets(directory, path, if_none_match=version) == [("3", START + 3, None)]

    async def test_a_grace_that_was_ended_is_shown_no_more(self, directory: Directory) -> None:
        ledger, path = directory.ledger, f"/v1/api-keys/{key_id(1)}"
        end = SecretEnd(id="1", ends_at=moment(START + HOUR))
        await directory.relay(ledger.add(created(1)), ledger.add(rotated(1, ended=[end])), ledger.add(finished(1, "1")))
        assert await secrets(directory, path) == [("2", START + 2, None)]
        directory.caller = caller("api-keys:read", "audit:read")
        await directory.relay(ledger.add(revoked(1)))
        (gone,) = (await directory.get("/v1/api-keys?status=revoked")).json()["data"]
        assert gone["secrets"] == []

    async def test_metadata_is_shown_as_it_is_now(self, directory: Directory) -> None:
        ledger, path = directory.ledger, f"/v1/api-keys/{key_id(1)}"
        await directory.relay(ledger.add(created(1, metadata={"a": [1.5, None, {"b": True}]})))
        assert (await directory.get(path)).json()["metadata"] == {"a": [1.5, None, {"b": True}]}
        changed = replace(renamed(1, "new"), metadata={"ü": "✓"})
        await directory.relay(ledger.add(changed), ledger.add(renamed(1, "newer")))
        assert (await directory.get(path)).json()["metadata"] == {"ü": "✓"}

    async def test_the_newest_key_comes_first(self, directory: Directory) -> None:
        await directory.relay(*(directory.ledger.add(created(n)) for n in (3, 1, 2)))
        assert await directory.names("/v1/api-keys") == ["key 2", "key 1", "key 3"]

    async def test_each_filter_narrows_and_all_of_them_together(self, directory: Directory) -> None:
        ledger = directory.ledger
        personal = created(2, type="personal", owner_type="user", owner_id="user_7", role=None)
        await directory.relay(
            ledger.add(created(1)), ledger.add(personal), ledger.add(created(3, environment="prod", role="developer"))
        )
        assert await directory.names("/v1/api-keys?type=personal") == ["key 2"]
        assert await directory.names("/v1/api-keys?owner_id=user_7") == ["key 2"]
        assert await directory.names("/v1/api-keys?role=viewer") == ["key 1"]
        assert await directory.names("/v1/api-keys?environment=prod&role=developer&type=team") == ["key 3"]
        assert await directory.names("/v1/api-keys?environment=prod&role=viewer") == []

    async def test_a_key_expires_by_the_clock_at_reading(self, directory: Directory) -> None:
        await directory.relay(
            directory.ledger.add(created(1, expires_at=moment(START + HOUR))), directory.ledger.add(created(2))
        )
        assert await directory.names("/v1/api-keys?status=active") == ["key 2", "key 1"]
        directory.clock.wall = START + HOUR
        assert await directory.names("/v1/api-keys?status=active") == ["key 2"]
        assert await directory.names("/v1/api-keys?status=expired") == ["key 1"]
        assert await directory.names("/v1/api-keys") == ["key 2", "key 1"]
        assert (await directory.get(f"/v1/api-keys/{key_id(1)}")).json()["status"] == "expired"

    async def test_a_disabled_key_is_one_of_the_disabled_and_nothing_else_until_it_is_enabled(
        self, directory: Directory
    ) -> None:
        ledger, path = directory.ledger, f"/v1/api-keys/{key_id(1)}"
        directory.caller = caller("api-keys:read", "audit:read")
        await directory.relay(
            ledger.add(created(1, expires_at=moment(START + HOUR))), ledger.add(created(2)), ledger.add(disabled(1))
        )
        for wall in (START, START + HOUR):  # its expiry changes nothing
            directory.clock.wall = wall
            key = (await directory.get(path)).json()
            assert (key["status"], datetime.fromisoformat(key["disabled_at"])) == ("disabled", moment(START + 3))
            assert await directory.names("/v1/api-keys?status=disabled") == ["key 1"]
            assert await directory.names("/v1/api-keys?status=active") == ["key 2"]
            assert await directory.names("/v1/api-keys?status=expired") == []
            assert await directory.names("/v1/api-keys") == ["key 2", "key 1"]
        await directory.relay(ledger.add(enabled(1)))
        key = (await directory.get(path)).json()
        assert (key["status"], key["disabled_at"], key["version"]) == ("expired", None, 3)
        assert await directory.names("/v1/api-keys?status=disabled") == []
        await directory.relay(ledger.add(disabled(1)), ledger.add(revoked(1)))
        assert await directory.names("/v1/api-keys?status=disabled") == []
        assert await directory.names("/v1/api-keys?status=revoked") == ["key 1"]

    async def test_a_revoked_key_is_found_only_by_who_may_audit(self, directory: Directory) -> None:
        await directory.relay(directory.ledger.add(created(1)), directory.ledger.add(revoked(1, "leaked")))
        await directory.get(f"/v1/api-keys/{key_id(1)}", 404)
        assert await directory.names("/v1/api-keys") == []
        refused = await directory.get("/v1/api-keys?status=revoked", 403)
        assert "audit:read" in refused.json()["detail"]
        directory.caller = caller("api-keys:read", "audit:read")
        (key,) = (await directory.get("/v1/api-keys?status=revoked")).json()["data"]
        assert (key["status"], key["revocation_reason"], key["version"]) == ("revoked", "leaked", 2)
        await directory.get(f"/v1/api-keys/{key_id(1)}", 404)

    async def test_a_key_that_died_with_its_owner_is_shown_as_revoked_and_never_comes_back(
        self, directory: Directory
    ) -> None:
        ledger, name = directory.ledger, f"/v1/api-keys/{key_id(1)}"
        directory.caller = caller("api-keys:read", "audit:read")
        await directory.relay(ledger.add(user()), ledger.add(personal(1)), ledger.add(created(2)))
        version = (await directory.get(name)).headers["etag"]
        assert await directory.names("/v1/api-keys") == ["key 2", "key 1"]
        await directory.relay(ledger.add(deactivated()))
        await directory.get(name, 404)
        await directory.relay(ledger.add(reactivated()), ledger.add(personal(3)))
        await directory.get(name, 404, if_none_match=version)
        for path in ("/v1/api-keys", "/v1/api-keys?status=active"):
            assert await directory.names(path) == ["key 3", "key 2"]
        (dead,) = (await directory.get("/v1/api-keys?status=revoked")).json()["data"]
        assert (dead["id"], dead["status"], dead["revocation_reason"]) == (key_id(1), "revoked", "owner_deactivated")
        assert datetime.fromisoformat(dead["revoked_at"]) == moment(START + 4)

    async def test_a_dead_key_died_at_the_first_deactivation_that_it_met(self, directory: Directory) -> None:
        ledger = directory.ledger
        directory.caller = caller("api-keys:read", "audit:read")
        await directory.relay(ledger.add(user()))
        for number in (1, 2, 3):
            await directory.relay(ledger.add(personal(number)), ledger.add(deactivated()), ledger.add(reactivated()))
        dead = (await directory.get("/v1/api-keys?status=revoked")).json()["data"]
        at = {key["name"]: datetime.fromisoformat(key["revoked_at"]) for key in dead}
        assert at == {f"key {number}": moment(START + 3 * number) for number in (1, 2, 3)}

    async def test_a_dead_key_that_has_expired_is_no_expired_one(self, directory: Directory) -> None:
        ledger = directory.ledger
        expiring = personal(1, expires_at=moment(START + HOUR))
        await directory.relay(ledger.add(user()), ledger.add(expiring), ledger.add(deactivated()))
        directory.clock.wall = START + HOUR
        assert await directory.names("/v1/api-keys?status=expired") == []

    async def test_revoked_and_dead_keys_come_in_one_order_over_pages_and_filters(self, directory: Directory) -> None:
        ledger = directory.ledger
        directory.caller = caller("api-keys:read", "audit:read")
        await directory.relay(ledger.add(user()))
        for number in range(1, 10):
            await directory.relay(ledger.add(personal(number) if number % 2 else created(number)))
        ended = [ledger.add(event) for event in (revoked(4), revoked(5), deactivated(), revoked(8), revoked(7))]
        await directory.relay(*ended)
        pages = [page async for page in directory.all_pages("/v1/api-keys?status=revoked&limit=2")]
        shown = [(key["name"], key["revocation_reason"]) for page in pages for key in page]
        died = {9, 3, 1}
        assert shown == [
            (f"key {number}", "owner_deactivated" if number in died else "unspecified")
            for number in (9, 8, 7, 5, 4, 3, 1)
        ]
        assert await directory.names("/v1/api-keys?status=revoked&type=team") == ["key 8", "key 4"]
        assert await directory.names(f"/v1/api-keys?status=revoked&owner_id={USER}&limit=1") == ["key 9"]

    async def test_foreign_revoked_unknown_and_impossible_ids_get_the_same_404(self, directory: Directory) -> None:
        ledger = directory.ledger
        await directory.relay(
            ledger.add(created(1, organization_id="org_other")), ledger.add(created(2)), ledger.add(revoked(2))
        )
        paths = (key_id(1), key_id(2), key_id(9), "%00", "key_1")
        answers = [await directory.get(f"/v1/api-keys/{id_}", 404, keyledger_request_id="same") for id_ in paths]
        assert len({answer.content for answer in answers}) == 1
        assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1

    async def test_no_list_shows_a_foreign_key(self, directory: Directory) -> None:
        await directory.relay(directory.ledger.add(created(1, organization_id="org_other")))
        directory.caller = caller("*:*")
        for status in ("active", "expired", "revoked"):
            assert await directory.names(f"/v1/api-keys?status={status}&owner_id=team_{'2' * 22}") == []

    async def test_paging_shows_each_key_once_while_keys_are_created(self, directory: Directory) -> None:
        ledger = directory.ledger
        await directory.relay(*(ledger.add(created(n)) for n in range(1, 51)))
        seen = []
        async for page in directory.all_pages("/v1/api-keys?limit=7&role=viewer"):
            seen += [key["name"] for key in page]
            more = len(ledger.entries)
            await directory.relay(*(ledger.add(created(n)) for n in range(more + 1, more + 4)))
        assert seen == [f"key {n}" for n in range(50, 0, -1)]

    async def test_the_last_page_has_no_next_one_even_when_it_is_full(self, directory: Directory) -> None:
        await directory.relay(*(directory.ledger.add(created(n)) for n in range(4)))
        pages = [len(page) async for page in directory.all_pages("/v1/api-keys?limit=2")]
        assert pages == [2, 2]

    async def test_a_cursor_continues_its_own_question_only(self, directory: Directory) -> None:
        await directory.relay(*(directory.ledger.add(created(n)) for n in range(3)))
        cursor = (await directory.get("/v1/api-keys?limit=1&role=viewer")).json()["next_cursor"]
        await directory.get(f"/v1/api-keys?limit=2&role=viewer&cursor={cursor}")
        for other in (f"role=developer&cursor={cursor}", f"cursor={cursor}", f"role=viewer&cursor=A{cursor[1:]}"):
            refused = await directory.get(f"/v1/api-keys?{other}", 422)
            assert refused.json()["errors"][0]["pointer"] == "query: cursor"
        directory.caller = caller("api-keys:read", organization_id="org_other")
        await directory.get(f"/v1/api-keys?role=viewer&cursor={cursor}", 422)

    @pytest.mark.parametrize(
        ("query", "pointer"),
        [
            ("colour=red", "query: colour"),
            ("limit=0", "query: limit"),
            ("limit=201", "query: limit"),
            ("status=dead", "query: status"),
            ("owner_id=%00", "query: owner_id"),
            ("role=a%20b", "query: role"),
            ("type=team&type=personal", "query: type"),
        ],
    )
    async def test_a_parameter_that_is_not_understood_is_refused(
        self, directory: Directory, query: str, pointer: str
    ) -> None:
        refused = (await directory.get(f"/v1/api-keys?{query}", 422)).json()
        assert (refused["code"], [error["pointer"] for error in refused["errors"]]) == ("invalid-request", [pointer])

    async def test_a_parameter_of_a_single_key_is_refused(self, directory: Directory) -> None:
        refused = await directory.get(f"/v1/api-keys/{key_id(1)}?colour=red", 422)
        assert refused.json()["errors"][0]["pointer"] == "query: colour"

    async def test_who_has_the_current_version_gets_304(self, directory: Directory) -> None:
        path = f"/v1/api-keys/{key_id(1)}"
        await directory.relay(directory.ledger.add(created(1, expires_at=moment(START + HOUR))))
        unchanged = await directory.get(path, 304, if_none_match='"0", W/"1"')
        assert (unchanged.content, unchanged.headers["etag"]) == (b"", '"1"')
        await directory.get(path, 200, if_none_match='"2"')
        await directory.relay(directory.ledger.add(renamed(1, "new")))
        await directory.get(path, 200, if_none_match='"1"')
        directory.clock.wall = START + HOUR
        expired = await directory.get(path, 200, if_none_match='"2"')
        assert expired.json()["status"] == "expired"

    async def test_whatever_can_be_got_can_be_asked_about(self, directory: Directory) -> None:
        await directory.relay(directory.ledger.add(created(1)))
        for path in ("/v1/api-keys", f"/v1/api-keys/{key_id(1)}"):
            got, asked = await directory.get(path), await directory.http.head(path)
            assert (asked.status_code, asked.headers.get("etag")) == (200, got.headers.get("etag"))

    async def test_nobody_learns_anything_without_the_permission(self, directory: Directory) -> None:
        for path in ("/v1/api-keys?colour=red", f"/v1/api-keys/{key_id(1)}?colour=red"):
            directory.caller = None
            assert (await directory.get(path, 401)).json()["code"] == "missing-credential"
            directory.caller = caller("agents:read")
            assert (await directory.get(path, 403)).json()["code"] == "insufficient-permission"

    async def test_a_read_waits_for_the_position_it_was_given(self, directory: Directory) -> None:
        entry = directory.ledger.add(created(1))
        asked = asyncio.create_task(directory.get(f"/v1/api-keys/{key_id(1)}", keyledger_at_least=POSITIONS.write(1)))
        done, _ = await asyncio.wait({asked}, timeout=0.1)
        assert not done
        await directory.relay(entry)
        assert (await asked).json()["id"] == key_id(1)

    async def test_a_read_that_cannot_catch_up_says_so(self, directory: Directory) -> None:
        behind = await directory.get("/v1/api-keys", 503, keyledger_at_least=POSITIONS.write(7))
        assert behind.json()["code"] == "projection-behind"
        assert behind.headers["retry-after"] == "1"
        assert POSITIONS.read(behind.headers["keyledger-position"]) == 0

    async def test_a_position_that_a_younger_head_shows_not_to_exist_is_refused(self, directory: Directory) -> None:
        after_the_request = directory.clock.now() + 1_500_000
        head = Head(store=STORE, position=6, at=after_the_request)
        directory.freshness.heard(head, now=after_the_request)
        refused = await directory.get("/v1/api-keys", 400, keyledger_at_least=POSITIONS.write(7))
        assert refused.json()["code"] == "invalid-position-token"

    async def test_a_position_of_another_ledger_and_a_forged_one_are_refused(self, directory: Directory) -> None:
        foreign = PositionTokens(ANOTHER_STORE, b"k" * 32).write(1)
        forged = PositionTokens("a" * 32, b"x" * 32).write(1)
        for token in (foreign, forged, "", b"\xe9"):
            refused = await directory.get("/v1/api-keys", 400, keyledger_at_least=token)
            assert refused.json()["code"] == "invalid-position-token"


class TestOnSqlite(DirectoryApi):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'directory.db'}"


@pytest.mark.postgres
class TestOnPostgres(DirectoryApi):
    @pytest.fixture
    def url(self, postgres_database: str) -> str:
        return postgres_database
