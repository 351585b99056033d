"""The sentences that a scenario may use, and what each does."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.e2e.world import NamedKey, World, eventually

Step = Callable[..., None]
STEPS: list[tuple[re.Pattern[str], Step]] = []
_WHO = r'(?P<by>the administrator|"[^"]+")'


def step(sentence: str) -> Callable[[Step], Step]:
    """Register a sentence: WHO stands for the administrator or a named key, NAME for a name in quotes."""
    pattern = sentence.replace("WHO", _WHO).replace("NAME", r'"(?P<name>[^"]+)"')

    def register(function: Step) -> Step:
        STEPS.append((re.compile(pattern), function))
        return function

    return register


def carry_out(world: World, sentence: str) -> None:
    """Do what the sentence says; AssertionError where it does not hold, LookupError where nobody knows it."""
    for pattern, function in STEPS:
        match = pattern.fullmatch(sentence)
        if match is not None:
            words = match.groupdict()
            if words.get("by") is not None:
                words["by"] = "root" if words["by"] == "the administrator" else words["by"].strip('"')
            function(world, **words)
            return
    raise LookupError(f"no step says: {sentence}")


def _create(world: World, by: str, name: str, **fields: Any) -> None:
    answer = world.request("POST", "/v1/api-keys", by=by, json={"name": name, **fields})
    if answer.status_code == 201:
        body = answer.json()
        world.keys[name] = NamedKey(id=body["id"], token=body["key"])


@step(r"WHO creates a key called NAME with the role (?P<role>\w+)")
def create_with_role(world: World, by: str, name: str, role: str) -> None:
    owner = {} if by == "root" else {"owner_id": _owner_of(world, by)}
    _create(world, by, name, role=role, **owner)


def _owner_of(world: World, by: str) -> str:
    return str(world.verify(world.keys[by].token).json()["owner"]["id"])


@step(r'WHO (?:tries to create|creates) a key called NAME for the user "(?P<user>[^"]+)"')
def create_for_user(world: World, by: str, name: str, user: str) -> None:
    # Without a role of its own the key has its owner's.
    _create(world, by, name, owner_id=world.users[user])


@step(r"WHO creates a key called NAME that ends in (?P<seconds>\d+) seconds")
def create_with_expiry(world: World, by: str, name: str, seconds: str) -> None:
    end = datetime.now(UTC) + timedelta(seconds=int(seconds))
    _create(world, by, name, expires_at=end.isoformat())
    world.keys[name].expires_at = end.timestamp()


@step(r"WHO creates a user called NAME with the role (?P<role>\w+)")
def create_user(world: World, by: str, name: str, role: str) -> None:
    answer = world.request("POST", "/v1/users", by=by, json={"name": name, "roles": [role]})
    assert answer.status_code == 201, answer.text
    world.users[name] = answer.json()["id"]


@step(r"WHO (?P<action>deactivate|reactivate)s the user NAME")
def change_user(world: World, by: str, action: str, name: str) -> None:
    answer = world.request("POST", f"/v1/users/{world.users[name]}/{action}", by=by)
    status = "deactivated" if action == "deactivate" else "active"
    assert answer.is_error or answer.json()["status"] == status


_ALLOWS = r'(?P<permissions>"[^"]+"(?: and "[^"]+")*)'


def _sent(permissions: str) -> list[str]:
    return [permission.strip('"') for permission in permissions.split(" and ")]


@step(rf"WHO defines the role (?P<role>\w+), which allows {_ALLOWS}")
def define_role(world: World, by: str, role: str, permissions: str) -> None:
    world.request("POST", "/v1/roles", by=by, json={"id": role, "name": role, "permissions": _sent(permissions)})


@step(rf"WHO changes the role (?P<role>\w+), which now allows {_ALLOWS}")
def change_role(world: World, by: str, role: str, permissions: str) -> None:
    world.request("PATCH", f"/v1/roles/{role}", by=by, json={"permissions": _sent(permissions)})


@step(r"WHO deletes the role (?P<role>\w+)")
def delete_role(world: World, by: str, role: str) -> None:
    world.request("DELETE", f"/v1/roles/{role}", by=by)


@step(r"WHO can see the role (?P<role>\w+) in the list of roles")
def sees_role(world: World, by: str, role: str) -> None:
    listed = world.request("GET", "/v1/roles", by=by).json()["data"]
    assert role in {one["id"] for one in listed}


@step(r'the key NAME may (?P<negation>not )?do "(?P<permission>[^"]+)"')
def may_do(world: World, name: str, negation: str | None, permission: str) -> None:
    answer = world.verify(world.keys[name].token, permission=permission)
    assert answer.json()["code"] == ("insufficient-permission" if negation else "valid")


@step(r"WHO creates a service account called NAME")
def create_service_account(world: World, by: str, name: str) -> None:
    world.request("POST", "/v1/service-accounts", by=by, json={"name": name})


@step(r"WHO rotates NAME")
def rotate(world: World, by: str, name: str) -> None:
    key = world.keys[name]
    answer = world.request("POST", f"/v1/api-keys/{key.id}/rotate", by=by)
    if answer.status_code == 200:
        assert answer.json()["id"] == key.id
        key.old_token, key.token = key.token, answer.json()["key"]


@step(r"WHO rotates NAME with a grace of (?P<seconds>\d+) seconds")
def rotate_with_grace(world: World, by: str, name: str, seconds: str) -> None:
    key = world.keys[name]
    answer = world.request("POST", f"/v1/api-keys/{key.id}/rotate", by=by, json={"grace_seconds": int(seconds)})
    assert answer.status_code == 200, answer.text
    key.old_token, key.token = key.token, answer.json()["key"]
    _, old = answer.json()["secrets"]
    key.expires_at = datetime.fromisoformat(old["ends_at"]).timestamp()


@step(r"WHO ends the grace of NAME")
def finish_rotation(world: World, by: str, name: str) -> None:
    world.request("POST", f"/v1/api-keys/{world.keys[name].id}/rotate/finish", by=by)


@step(r"WHO can see that (?P<count>\d+) secrets? of NAME works?")
def sees_secrets(world: World, by: str, count: str, name: str) -> None:
    shown = world.request("GET", f"/v1/api-keys/{world.keys[name].id}", by=by).json()["secrets"]
    assert len(shown) == int(count)
    assert [secret["ends_at"] is None for secret in shown] == [True, *[False] * (int(count) - 1)]


@step(r"WHO (?P<action>disable|enable)s NAME")
def switch(world: World, by: str, action: str, name: str) -> None:
    answer = world.request("POST", f"/v1/api-keys/{world.keys[name].id}/{action}", by=by)
    assert answer.is_error or answer.json()["status"] == ("disabled" if action == "disable" else "active")


@step(r"WHO deletes NAME")
def delete(world: World, by: str, name: str) -> None:
    world.request("DELETE", f"/v1/api-keys/{world.keys[name].id}", by=by)


@step(r"WHO deletes NAME as (?P<reason>\w+)")
def delete_with_reason(world: World, by: str, name: str, reason: str) -> None:
    world.request("DELETE", f"/v1/api-keys/{world.keys[name].id}?reason={reason}", by=by)


@step(r"WHO can see that NAME was revoked as (?P<reason>\w+)")
def sees_reason(world: World, by: str, name: str, reason: str) -> None:
    listed = world.request("GET", "/v1/api-keys?status=revoked", by=by).json()["data"]
    reasons = {key["id"]: key["revocation_reason"] for key in listed}
    assert reasons[world.keys[name].id] == reason


@step(r"it is refused as (?P<code>[\w-]+)")
def is_refused(world: World, code: str) -> None:
    assert world.last is not None
    assert world.last.status_code >= 400
    assert world.last.json()["code"] == code


@step(r"the key NAME is accepted")
def is_accepted(world: World, name: str) -> None:
    answer = world.verify(world.keys[name].token)
    assert (answer.status_code, answer.json()["code"]) == (200, "valid")
    assert answer.json()["key_id"] == world.keys[name].id


@step(r"the key NAME is refused as (?P<code>[\w-]+)")
def is_refused_as(world: World, name: str, code: str) -> None:
    answer = world.verify(world.keys[name].token)
    assert (answer.status_code, answer.json()["code"]) == (401, code)


@step(r"the old secret of NAME is refused as (?P<code>[\w-]+)")
def old_secret_is_refused(world: World, name: str, code: str) -> None:
    old = world.keys[name].old_token
    assert old is not None
    answer = world.verify(old)
    assert (answer.status_code, answer.json()["code"]) == (401, code)


@step(r"a guess at the secret of NAME is refused as (?P<code>[\w-]+)")
def guess_is_refused(world: World, name: str, code: str) -> None:
    answer = world.verify(world.keys[name].token[:-1] + "!")
    assert (answer.status_code, answer.json()["code"]) == (401, code)


@step(r"WHO can see NAME in the list of keys")
def sees_in_list(world: World, by: str, name: str) -> None:
    listed = world.request("GET", "/v1/api-keys", by=by).json()["data"]
    assert world.keys[name].id in {key["id"] for key in listed}


@step(r"WHO can see NAME in the list of (?P<status>active|disabled|revoked) keys")
def sees_in_list_of(world: World, by: str, name: str, status: str) -> None:
    listed = world.request("GET", f"/v1/api-keys?status={status}", by=by).json()["data"]
    assert {key["status"] for key in listed} == {status}
    assert world.keys[name].id in {key["id"] for key in listed}


@step(r"WHO cannot find NAME any more")
def cannot_find(world: World, by: str, name: str) -> None:
    assert world.request("GET", f"/v1/api-keys/{world.keys[name].id}", by=by).status_code == 404
    listed = world.request("GET", "/v1/api-keys", by=by).json()["data"]
    assert world.keys[name].id not in {key["id"] for key in listed}


@step(r"the old secret of NAME is accepted")
def old_secret_is_accepted(world: World, name: str) -> None:
    old = world.keys[name].old_token
    assert old is not None
    answer = world.verify(old)
    assert (answer.status_code, answer.json()["key_id"]) == (200, world.keys[name].id)


@step(r"the end of NAME has come")
def end_has_come(world: World, name: str) -> None:
    end = world.keys[name].expires_at
    assert end is not None
    eventually(time.time, lambda now: now > end, "the clock passes the expiry")


@step(r"everything is restarted")
def restart(world: World) -> None:
    world.profile.restart()


@step(r"everything is killed and started again")
def kill_and_start(world: World) -> None:
    world.profile.kill_and_start()


@step(r"somebody at (?P<source>[\d.]+) tries (?P<count>\d+) made-up keys")
def made_up_keys(world: World, source: str, count: str) -> None:
    for number in range(int(count)):
        assert world.verify(f"kl_dev_{number:022}_{number:033}", source=source).status_code == 401


@step(r"an alert says that (?P<source>[\d.]+) had a (?P<rule>[\w-]+)")
def alert_appears(world: World, source: str, rule: str) -> None:
    eventually(
        lambda: world.request("GET", "/v1/alerts", by="root").json()["data"],
        lambda alerts: any((alert["rule"], alert["subject"]) == (rule, source) for alert in alerts),
        f"an alert of the rule {rule} about {source}",
    )
