"""``POST /v1/users/{user_id}/deactivate`` and ``/reactivate``: 200, 403, 404, 409, 412, and what becomes of keys."""

import pytest

from keyledger.domain.events import UserDeactivated
from keyledger.eventstore.port import Append
from tests.integration.commands.world import World, alike, pointers, problem_of

LEDGERS = ["memory", "sqlite"]
ACTIONS = ["deactivate", "reactivate"]


def path(user_id: str, action: str = "deactivate") -> str:
    return f"/v1/users/{user_id}/{action}"


def deactivate_before_the_next_append(world: World, user_id: str) -> None:
    """Have another process deactivate a user between a decision and its append."""

    async def deactivate(_: Append) -> None:
        world.ledger.before_append = None
        await world.write(user_id, UserDeactivated(organization_id=world.organization_id, user_id=user_id))

    world.ledger.before_append = deactivate


async def root_of(world: World) -> str:
    """Return the user of the root key."""
    header = (await world.ledger.read(0, limit=1000))[-1].header
    return str(header.actor_user)


async def test_200_a_deactivated_user_and_a_reactivated_one(world: World) -> None:
    user_id = await world.owner("/v1/users", email="ada@example.com", role="developer")
    ended = await world.send("POST", path(user_id))
    assert ended.status_code == 200
    assert ended.headers["etag"] == '"2"'
    shown = ended.json()
    assert (shown["status"], shown["roles"], shown["email"]) == ("deactivated", ["developer"], "ada@example.com")
    assert shown["deactivated_at"] == "2026-11-24T06:00:00Z"
    assert (await world.send("GET", f"/v1/users/{user_id}")).json() == shown
    back = (await world.send("POST", path(user_id, "reactivate"), json={})).json()
    assert (back["status"], back["deactivated_at"], back["version"]) == ("active", None, 3)


@pytest.mark.parametrize("action", ACTIONS)
async def test_200_what_is_so_already_writes_nothing_and_has_the_last_position(world: World, action: str) -> None:
    user_id = await world.user()
    first = await world.send("POST", path(user_id, action))
    head = (await world.ledger.head()).position
    again = await world.send("POST", path(user_id, action))
    assert (again.status_code, again.json()) == (200, first.json())
    assert again.headers["keyledger-position"] == first.headers["keyledger-position"]
    assert (await world.ledger.head()).position == head


async def test_it_is_carried_out_once_for_an_idempotency_key(world: World) -> None:
    user_id, headers = await world.user(), {"Idempotency-Key": "once"}
    first = await world.send("POST", path(user_id), headers=headers)
    await world.send("POST", path(user_id, "reactivate"))
    second = await world.send("POST", path(user_id), headers=headers)
    assert (second.status_code, second.headers["idempotency-replayed"]) == (200, "true")
    assert second.json() == first.json()
    assert (await world.send("GET", f"/v1/users/{user_id}")).json()["status"] == "active"


async def test_a_deactivated_user_gets_in_with_no_key_and_an_earlier_key_never_comes_back(world: World) -> None:
    user_id = await world.user("administrator")
    keys = [(await world.created(owner_id=user_id, role=role))["key"] for role in (None, "administrator")]
    assert [await world.works(key) for key in keys] == [True, True]
    for action in ACTIONS:
        await world.send("POST", path(user_id, action))
        for key in keys:
            assert problem_of(await world.send("GET", f"/v1/users/{user_id}", key=key), 401) == "owner-deactivated"
            written = await world.send("POST", "/v1/teams", key=key, json={"name": "x"})
            assert problem_of(written, 401) == "owner-deactivated"
    assert world.attempts[-1].code == "owner-deactivated"
    assert await world.works((await world.created(owner_id=user_id, role=None))["key"])


async def test_422_no_key_is_made_for_a_deactivated_user(world: World) -> None:
    user_id = await world.user()
    await world.send("POST", path(user_id))
    made = await world.send("POST", "/v1/api-keys", json={"name": "x", "owner_id": user_id, "role": "viewer"})
    assert pointers(made) == ["#/owner_id"]


async def test_a_key_that_died_with_its_owner_cannot_be_changed_or_rotated_but_revoked(world: World) -> None:
    user_id = await world.user()
    made = await world.created(owner_id=user_id, role="viewer")
    await world.send("POST", path(user_id))
    await world.send("POST", path(user_id, "reactivate"))
    key = f"/v1/api-keys/{made['id']}"
    unknown = await world.send("POST", "/v1/api-keys/key_0000000000000000000000/rotate")
    assert alike(await world.send("POST", f"{key}/rotate")) == alike(unknown)
    assert problem_of(await world.send("PATCH", key, json={"name": "y"}), 404) == "not-found"
    assert (await world.send("DELETE", key)).status_code == 204


async def test_409_nobody_deactivates_themselves(world: World) -> None:
    user_id = await world.user("administrator")
    key = (await world.created(owner_id=user_id, role=None))["key"]
    assert problem_of(await world.send("POST", path(user_id), key=key), 409) == "self-deactivation"
    assert await world.works(key)


async def test_of_two_who_deactivate_each_other_one_stays(world: World) -> None:
    """The right to do it is a condition of the write: an organization never loses its last administrator."""
    user_id = await world.user("administrator")
    key = (await world.created(owner_id=user_id, role=None))["key"]
    root_user = await root_of(world)
    deactivate_before_the_next_append(world, user_id)
    answered = await world.send("POST", path(root_user), key=key)
    assert problem_of(answered, 401) == "owner-deactivated"
    assert (await world.send("GET", f"/v1/users/{root_user}")).json()["status"] == "active"


async def test_403_to_reactivate_one_must_be_allowed_to_hand_out_the_roles_but_not_to_deactivate(world: World) -> None:
    role = world.role("personnel", ["users:*"], ["viewer"])
    await world.write(f"{world.organization_id}/role/personnel", role)
    personnel, user_id = await world.key_of("personnel"), await world.user("administrator")
    assert (await world.send("POST", path(user_id), key=personnel)).status_code == 200
    refused = await world.send("POST", path(user_id, "reactivate"), key=personnel)
    assert problem_of(refused, 403) == "not-grantable"
    assert (await world.send("POST", path(user_id, "reactivate"))).status_code == 200


@pytest.mark.parametrize("action", ACTIONS)
async def test_404_of_a_foreign_user_is_the_one_of_an_unknown_one(world: World, action: str) -> None:
    mine, stranger = await world.user(), await world.stranger()
    ids = [mine, "user_0000000000000000000000", await world.owner("/v1/teams"), "nonsense", "%00"]
    answers = [alike(await world.send("POST", path(id_, action), key=stranger)) for id_ in ids]
    assert answers[0][0] == 404
    assert all(answered == answers[0] for answered in answers)


async def test_412_a_user_that_has_changed_since(world: World) -> None:
    user_id = await world.user()
    await world.send("POST", path(user_id))
    stale = await world.send("POST", path(user_id, "reactivate"), headers={"If-Match": '"1"'})
    assert problem_of(stale, 412) == "precondition-failed"


@pytest.mark.parametrize("action", ACTIONS)
async def test_422_a_field_that_nobody_knows(world: World, action: str) -> None:
    assert pointers(await world.send("POST", path(await world.user(), action), json={"reason": "x"})) == ["#/reason"]


async def test_a_creation_that_a_deactivation_overtakes_makes_no_key(world: World) -> None:
    user_id = await world.user()
    deactivate_before_the_next_append(world, user_id)
    made = await world.send("POST", "/v1/api-keys", json={"name": "x", "owner_id": user_id, "role": "viewer"})
    assert pointers(made) == ["#/owner_id"]
    assert (await world.ledger.read(0, limit=1000))[-1].header.type == "UserDeactivated"
