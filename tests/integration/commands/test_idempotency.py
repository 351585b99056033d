"""``Idempotency-Key``: a request that is sent twice is carried out once, whatever happened in between."""

from typing import Any

import pytest

from keyledger.eventstore.port import Append
from tests.integration.commands.world import World, pointers, problem_of

LEDGERS = ["memory", "sqlite"]

ONCE = {"Idempotency-Key": "once"}


async def twice(world: World, method: str, path: str, **more: Any) -> tuple[Any, Any]:
    first = await world.send(method, path, headers=ONCE, **more)
    head = (await world.ledger.head()).position
    second = await world.send(method, path, headers=ONCE, **more)
    assert (await world.ledger.head()).position == head
    assert (second.status_code, second.headers["etag"]) == (first.status_code, first.headers["etag"])
    assert second.headers["keyledger-position"] == first.headers["keyledger-position"]
    assert "idempotency-replayed" not in first.headers
    assert second.headers["idempotency-replayed"] == "true"
    return first, second


async def test_a_replayed_creation_answers_the_same_key_without_its_secret(world: World) -> None:
    first, second = await twice(world, "POST", "/v1/api-keys", json={"name": "x"})
    rotate = f"/v1/api-keys/{first.json()['id']}/rotate"
    shown = first.json()
    del shown["key"]
    answered = second.json()
    assert rotate in answered.pop("key_hint")
    assert answered == shown
    assert second.headers["link"].startswith(f"<{rotate}>;")
    assert second.headers["location"] == first.headers["location"]
    assert first.json()["key"][-33:] not in second.text


async def test_a_replayed_rotation_never_rotates_twice(world: World) -> None:
    made = await world.created()
    first, second = await twice(world, "POST", f"/v1/api-keys/{made['id']}/rotate")
    assert await world.works(first.json()["key"])
    assert "key" not in second.json()
    assert second.headers["link"].startswith(f"</v1/api-keys/{made['id']}/rotate>;")


async def test_a_replayed_deletion_is_204_although_the_key_is_gone(world: World) -> None:
    made = await world.created()
    _, second = await twice(world, "DELETE", f"/v1/api-keys/{made['id']}")
    assert second.status_code == 204
    assert problem_of(await world.send("DELETE", f"/v1/api-keys/{made['id']}"), 404) == "not-found"


async def test_a_change_of_nothing_is_replayed_too(world: World) -> None:
    made = await world.created()
    path = f"/v1/api-keys/{made['id']}"
    await world.send("PATCH", path, json={"name": "a key"}, headers=ONCE)
    await world.send("PATCH", path, json={"name": "another"})
    answered = await world.send("PATCH", path, json={"name": "a key"}, headers=ONCE)
    assert answered.headers["idempotency-replayed"] == "true"
    assert (answered.json()["name"], answered.headers["etag"]) == ("a key", '"1"')


@pytest.mark.parametrize("path", ["/v1/users", "/v1/teams", "/v1/service-accounts"])
async def test_owners_are_made_once(world: World, path: str) -> None:
    first, second = await twice(world, "POST", path, json={"name": "Ada"})
    assert first.json() == second.json()
    assert first.headers["location"] == second.headers["location"]


async def test_a_replay_shows_the_key_as_it_was_then(world: World) -> None:
    first = await world.send("POST", "/v1/api-keys", json={"name": "x"}, headers=ONCE)
    path = f"/v1/api-keys/{first.json()['id']}"
    await world.send("PATCH", path, json={"name": "y"})
    await world.send("DELETE", path)
    again = await world.send("POST", "/v1/api-keys", json={"name": "x"}, headers=ONCE)
    assert again.status_code == 201
    assert (again.json()["name"], again.json()["status"], again.headers["etag"]) == ("x", "active", '"1"')


async def test_a_replay_comes_before_what_would_be_refused_by_now(world: World) -> None:
    body = {"name": "x", "expires_at": "2026-11-24T06:00:01Z"}
    await world.send("POST", "/v1/api-keys", json=body, headers=ONCE)
    await world.clock.sleep(60)
    again = await world.send("POST", "/v1/api-keys", json=body, headers=ONCE)
    assert (again.status_code, again.json()["status"]) == (201, "expired")


async def test_422_for_another_body(world: World) -> None:
    await world.send("POST", "/v1/api-keys", json={"name": "x"}, headers=ONCE)
    answered = await world.send("POST", "/v1/api-keys", json={"name": "y"}, headers=ONCE)
    assert problem_of(answered, 422) == "idempotency-mismatch"


async def test_a_refused_request_may_be_corrected_under_the_same_key(world: World) -> None:
    assert pointers(await world.send("POST", "/v1/api-keys", json={"name": ""}, headers=ONCE))
    assert (await world.send("POST", "/v1/api-keys", json={"name": "x"}, headers=ONCE)).status_code == 201


async def test_another_actor_path_or_day_is_another_request(world: World) -> None:
    other = await world.key_of("administrator")
    request: dict[str, Any] = {"json": {"name": "x"}, "headers": ONCE}
    answers = [
        await world.send("POST", "/v1/teams", **request),
        await world.send("POST", "/v1/teams", key=other, **request),
        await world.send("POST", "/v1/service-accounts", **request),
    ]
    await world.clock.sleep(24 * 60 * 60 + 1)
    answers.append(await world.send("POST", "/v1/teams", **request))
    assert len({answered.json()["id"] for answered in answers}) == 4


async def test_a_refused_stranger_learns_nothing_by_a_replay(world: World) -> None:
    made = await world.created(role="administrator")
    body = {"name": "x"}
    await world.send("POST", "/v1/teams", key=made["key"], json=body, headers=ONCE)
    await world.send("DELETE", f"/v1/api-keys/{made['id']}")
    again = await world.send("POST", "/v1/teams", key=made["key"], json=body, headers=ONCE)
    assert problem_of(again, 401) == "revoked"


async def when_another_process_wins(world: World) -> None:
    other = world.twin()
    won: list[Any] = []

    async def win(_: Append) -> None:
        if not won:
            won.append(await other.send("POST", "/v1/api-keys", json={"name": "x"}, headers=ONCE))

    world.ledger.before_append = win
    lost = await world.send("POST", "/v1/api-keys", json={"name": "x"}, headers=ONCE)
    assert won[0].status_code == lost.status_code == 201
    assert lost.json()["id"] == won[0].json()["id"]
    assert lost.headers["idempotency-replayed"] == "true"
    assert "key" not in lost.json()


async def test_the_loser_of_a_race_between_processes_replays(world: World) -> None:
    await when_another_process_wins(world)


@pytest.mark.postgres
async def test_the_loser_of_a_race_between_processes_replays_on_postgres(postgres_world: World) -> None:
    await when_another_process_wins(postgres_world)
