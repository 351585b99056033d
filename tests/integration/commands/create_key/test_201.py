"""``POST /v1/api-keys``: what is made."""

import re

import pytest

from keyledger.verification.token import parse
from tests.integration.commands.world import World

LEDGERS = ["memory", "sqlite"]


async def test_only_a_name_is_needed(world: World) -> None:
    made = (await world.send("POST", "/v1/api-keys", json={"name": "laptop"})).json()
    mine = made["owner"]["id"]
    token, (secret,) = made.pop("key"), made.pop("secrets")
    assert (secret["created_at"], secret["ends_at"]) == ("2026-11-24T06:00:00Z", None)
    assert made == {
        "id": f"key_{token.split('_')[2]}",
        "organization_id": world.organization_id,
        "type": "personal",
        "owner": {"type": "user", "id": mine},
        "name": "laptop",
        "description": "",
        "metadata": {},
        "role": None,
        "environment": "dev",
        "status": "active",
        "created_at": "2026-11-24T06:00:00Z",
        "created_by": {"user": mine, "key": world.ledger.appends[0].actor_key},
        "updated_at": "2026-11-24T06:00:00Z",
        "expires_at": None,
        "disabled_at": None,
        "revoked_at": None,
        "revocation_reason": None,
        "rotated_at": None,
        "version": 1,
    }


async def test_the_token_has_the_form_that_scanners_look_for_and_works_at_once(world: World) -> None:
    key = (await world.created())["key"]
    assert re.fullmatch(r"kl_(dev|staging|prod)_[0-9A-Za-z]{22}_[0-9A-Za-z]{33}", key)
    assert parse(key) is not None
    assert await world.works(key)


@pytest.mark.parametrize(
    ("key_type", "owners"), [("personal", "/v1/users"), ("team", "/v1/teams"), ("service", "/v1/service-accounts")]
)
async def test_each_type_has_an_owner_of_its_kind(world: World, key_type: str, owners: str) -> None:
    owner_id = await world.owner(owners)
    made = await world.created(
        type=key_type,
        owner_id=owner_id,
        description="first line\nsecond",
        environment="prod",
        expires_at="2027-01-31T13:00:00.5+01:00",
    )
    assert (made["type"], made["owner"]["id"], made["environment"]) == (key_type, owner_id, "prod")
    assert made["expires_at"] == "2027-01-31T12:00:00.500000Z"
    assert made["key"].startswith("kl_prod_")
    assert made["description"] == "first line\nsecond"


async def test_the_answer_names_version_position_and_place(world: World) -> None:
    answered = await world.send("POST", "/v1/api-keys", json={"name": "laptop"})
    assert answered.headers["etag"] == '"1"'
    assert answered.headers["location"] == f"/v1/api-keys/{answered.json()['id']}"
    assert answered.headers["cache-control"] == "no-store"
    token = answered.headers["keyledger-position"]
    user = await world.user()
    read = await world.send("GET", f"/v1/users/{user}", headers={"Keyledger-At-Least": token})
    assert read.status_code == 200


async def test_a_name_is_trimmed(world: World) -> None:
    assert (await world.created(name="  my laptop \u3000"))["name"] == "my laptop"


@pytest.mark.parametrize("name", ["x", "ü" * 255, " " + "x" * 254])
async def test_a_name_may_be_short_or_long(world: World, name: str) -> None:
    assert (await world.created(name=name, description="x" * 1000))["name"] == name.strip()


async def test_the_facts_name_who_did_it_and_which_request(world: World) -> None:
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    answered = await world.send(
        "POST",
        "/v1/api-keys",
        json={"name": "laptop"},
        headers={"Keyledger-Request-Id": "my-request.1", "traceparent": traceparent},
    )
    header = (await world.ledger.load([answered.json()["id"]]))[answered.json()["id"]][0].header
    assert (header.request_id, header.traceparent) == ("my-request.1", traceparent)
    assert header.actor_user == answered.json()["owner"]["id"]
    assert header.actor_key == answered.json()["created_by"]["key"]
    assert await world.ledger.addresses([header.position]) == {header.position: "192.0.2.7"}


async def test_nothing_that_is_kept_holds_the_secret(world: World) -> None:
    made = await world.created()
    secret = made["key"][-33:-6].encode()
    for entry in await world.ledger.read(0, limit=1000):
        assert secret not in entry.data


async def test_a_creation_rests_on_its_owner_roles_and_organization_and_on_who_asks(world: World) -> None:
    owner_id = await world.user("developer")
    made = await world.created(owner_id=owner_id, role=None)
    asking = made["created_by"]
    assert world.ledger.appends[-1].guards == {
        world.organization_id: 1,
        owner_id: 1,
        f"{world.organization_id}/role/developer": 1,
        asking["user"]: 1,
        asking["key"]: 1,
        f"{world.organization_id}/role/administrator": 1,
    }


async def test_a_key_of_a_service_account_can_create_for_others(world: World) -> None:
    service = await world.owner("/v1/service-accounts")
    key = (await world.created(type="service", owner_id=service, role="api_manager"))["key"]
    body = {"name": "x", "owner_id": await world.user("viewer")}
    made = (await world.send("POST", "/v1/api-keys", key=key, json=body)).json()
    assert made["created_by"]["user"] is None
