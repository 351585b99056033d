"""The verdict over random histories, against a model that keeps everything and says it the slow way."""

import asyncio
import tempfile
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from keyledger.domain import keys
from keyledger.domain.events import KeyEvent, KeyRevoked, RoleClosed, RoleDeleted, SecretEnd
from keyledger.domain.identifiers import resource_id, role_stream
from tests.unit.verification.world import T0, World

HOURS = st.integers(0, 20)
PERMISSIONS = st.sampled_from([None, "agents:read", "agents:create", "api-keys:rotate", "users:create"])
ROLES = ["viewer", "developer", "administrator", "api_manager", "custom"]
ALLOWED = {
    "viewer": {"agents:read"},
    "developer": {"agents:read", "agents:create"},
    "administrator": {"agents:read", "agents:create", "api-keys:rotate", "users:create"},
    "api_manager": {"agents:read", "api-keys:rotate"},
    "custom": {"users:create"},
}

COMMANDS: Mapping[str, Callable[[str], keys.KeyCommand]] = {
    "finish": keys.FinishRotation,
    "disable": keys.DisableKey,
    "enable": keys.EnableKey,
}

maybe_hour = st.none() | HOURS
steps = st.one_of(
    st.tuples(st.just("rotate"), maybe_hour),
    st.tuples(st.just("finish"), st.none()),
    st.tuples(st.just("disable"), st.none()),
    st.tuples(st.just("enable"), st.none()),
    st.tuples(st.just("expiry"), maybe_hour),
    st.tuples(st.just("metadata"), st.dictionaries(st.sampled_from("ab"), st.integers(0, 2), max_size=2)),
    st.tuples(st.just("role"), st.sampled_from(ROLES)),
    st.tuples(st.just("define"), st.sets(PERMISSIONS.filter(bool))),
    st.tuples(st.just("end role"), st.none()),
    st.tuples(st.just("revoke"), st.none()),
    st.tuples(st.just("deactivate"), st.none()),
    st.tuples(st.just("reactivate"), st.none()),
)
histories = st.lists(st.tuples(st.integers(0, 2), steps), max_size=12)


def hour(number: int | None) -> datetime | None:
    return None if number is None else T0 + timedelta(hours=number)


class Model:
    """Three keys, all their events, and every token that was ever given out."""

    def __init__(self, world: World, owners_role: str) -> None:
        self.world, self.owners_role = world, owners_role
        facts = world.facts
        self.org = facts.organization()
        self.allowed = dict(ALLOWED)
        facts.role(self.org, "custom", permissions=sorted(self.allowed["custom"]))
        owners = (facts.user(self.org, roles=(owners_role,)), facts.team(self.org), facts.service_account(self.org))
        self.user, self.active, self.deactivated = owners[0], True, False
        self.tokens: list[tuple[str, str, str]] = []
        self.events: dict[str, list[KeyEvent]] = {}
        for number, owner in enumerate(owners, 1):
            key_id, token = facts.key(self.org, owner, number)
            self.tokens.append((key_id, f"{number:016x}", token))
        self._collect()

    def do(self, number: int, step: tuple[str, Any]) -> None:
        if step[0] in {"deactivate", "reactivate"}:
            self._move(active=step[0] == "reactivate")
            return
        if step[0] in {"define", "end role"}:
            self._change_role(step[1])
            return
        key_id = resource_id("key", number + 1)
        key = keys.fold(self.events[key_id])
        facts = self.world.facts
        if not isinstance(key, keys.Active):
            return  # nothing happens to a revoked key
        match step:
            case ("rotate", ends):
                ended = [SecretEnd(id=live.secret.id, ends_at=hour(ends)) for live in key.secrets]
                secret_id, token = facts.rotate(self.org, key_id, ended=ended)
                self.tokens.append((key_id, secret_id, token))
            case ("finish" | "disable" | "enable", _):
                for event in keys.decide(key, COMMANDS[step[0]](key_id)):
                    facts.append(key_id, event)
            case ("expiry", at):
                facts.update(self.org, key_id, expires_at=hour(at))
            case ("metadata" | "role", new):
                facts.update(self.org, key_id, **{step[0]: new})
            case ("revoke", _):
                facts.append(key_id, KeyRevoked(organization_id=self.org, key_id=key_id))
            case _:
                raise AssertionError(step)
        self._collect()

    def _change_role(self, permissions: set[str] | None) -> None:
        """Define the role; without permissions close it, which takes nothing from anybody, or delete it once closed."""
        if permissions is not None:
            self.allowed["custom"] = permissions
            self.world.facts.role(self.org, "custom", permissions=sorted(permissions))
            return
        stream = role_stream(self.org, "custom")
        entries = [entry for entry in self.world.facts.entries if entry.header.stream == stream]
        match entries[-1].header.type:
            case "RoleDefined":
                self.world.facts.append(stream, RoleClosed(organization_id=self.org, role="custom"))
            case "RoleClosed":
                self.world.facts.append(stream, RoleDeleted(organization_id=self.org, role="custom"))
                self.allowed["custom"] = set()

    def _move(self, *, active: bool) -> None:
        """Deactivate or reactivate the user: the keys that there are, all older, never come back."""
        if active != self.active:
            (self.world.facts.reactivate if active else self.world.facts.deactivate)(self.org, self.user)
        self.active, self.deactivated = active, self.deactivated or not active

    def expected(self, key_id: str, secret_id: str, at: datetime, permission: str | None) -> str:
        key = keys.fold(self.events[key_id])
        last = key.last if isinstance(key, keys.Revoked) else key
        assert isinstance(last, keys.Active)
        live = {one.secret.id for one in last.secrets if one.ends_at is None or at < one.ends_at}
        if secret_id not in live:
            return "invalid-credential"
        if isinstance(key, keys.Revoked):
            return "revoked"
        if last.type == "personal" and self.deactivated:
            return "owner-deactivated"
        if last.disabled:
            return "disabled"
        if last.expires_at is not None and last.expires_at <= at:
            return "expired"
        layers = [last.role] if last.role is not None else []
        if last.type == "personal":
            layers.append(self.owners_role)
        allowed = permission is None or all(permission in self.allowed[role] for role in layers)
        return "valid" if allowed else "insufficient-permission"

    def metadata(self, key_id: str) -> dict[str, Any]:
        key = keys.fold(self.events[key_id])
        assert isinstance(key, keys.Active)
        return key.metadata

    def _collect(self) -> None:
        self.events = {}
        for entry in self.world.facts.entries:
            if entry.header.stream.startswith("key_"):
                self.events.setdefault(entry.header.stream, []).append(cast("KeyEvent", self.world.decoded(entry)))


@settings(max_examples=60, deadline=None)
@given(histories, st.sampled_from(ROLES), HOURS, PERMISSIONS, st.integers(0, 12))
def test_the_verdict_is_what_the_history_says(
    history: list[tuple[int, tuple[str, Any]]], owners_role: str, at: int, permission: str | None, folded_at: int
) -> None:
    async def check() -> None:
        with tempfile.TemporaryDirectory() as folder:
            world = World(Path(folder))
            try:
                model = Model(world, owners_role)
                verifier = world.verifier()
                for number, (key_number, step) in enumerate(history):
                    model.do(key_number, step)
                    if number == folded_at:  # history may come in one batch or in two
                        await world.fold()
                        verifier.verify(model.tokens[0][2], world.ask())
                await world.fold()
                ask = world.ask(permission, after=timedelta(hours=at))
                world.freshness.on_stale = "allow"
                for key_id, secret_id, token in model.tokens:
                    expected = model.expected(key_id, secret_id, T0 + timedelta(hours=at), permission)
                    verdict = verifier.verify(token, ask)
                    assert verdict.code == expected
                    if verdict.valid:
                        assert verdict.metadata == model.metadata(key_id)
            finally:
                world.index.close()

    asyncio.run(check())
