"""Writing API keys: create, change, rotate, revoke. They are listed and read by the directory."""

from typing import Any, Final

from fastapi import Request
from fastapi.responses import Response
from msgspec import UNSET

from keyledger.contracts.ports import Clock, Randomness
from keyledger.domain.identifiers import is_resource_id
from keyledger.domain.keys import (
    OWNER_TYPES,
    Absent,
    Active,
    CreateKey,
    KeyCommand,
    KeyNotFound,
    KeyRefused,
    RevokeKey,
    RotateKey,
    UpdateKey,
    decide,
)
from keyledger.domain.people import Nobody
from keyledger.eventstore.port import Ledger
from keyledger.web.conditions import IfMatch, check_if_match
from keyledger.web.documents import JSON
from keyledger.web.idempotency import IdempotencyKey
from keyledger.web.positions import PositionTokens
from keyledger.web.principal import Principal
from keyledger.web.problems import Problem
from keyledger.web.resources import KeyResource, moment
from keyledger_commands.answering import answer
from keyledger_commands.authentication import LedgerAuthentication
from keyledger_commands.bodies import MERGE_PATCH, ChangeKeyBody, CreateKeyBody, RotateKeyBody, described, read_body
from keyledger_commands.granting import OWNER_WORDS, check_grant, look_around
from keyledger_commands.issuing import Issued, Issuer
from keyledger_commands.routing import WRITE_PROBLEMS, Routes, principal_of
from keyledger_commands.streams import Stream, key_of, load
from keyledger_commands.views import IssuedKey, key_fields
from keyledger_commands.writing import Call, Decide, Decision, Writes, Written

_KEYS: Final = "/v1/api-keys"
_KEY: Final = "/v1/api-keys/{key_id}"
_ROTATE: Final = "/v1/api-keys/{key_id}/rotate"
_WRITTEN: Final = ("ETag", "Keyledger-Position", "Idempotency-Replayed")
_NEW: Final = Stream(0, ())


class KeysApi:
    """The routes of keys that write."""

    def __init__(
        self,
        ledger: Ledger,
        writes: Writes,
        authentication: LedgerAuthentication,
        *,
        issuer: Issuer,
        positions: PositionTokens,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._ledger, self._writes, self._authentication = ledger, writes, authentication
        self._issuer, self._positions, self._clock, self._randomness = issuer, positions, clock, randomness

    def add_to(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add(
            "POST", _KEYS, self.create,
            operation_id="createApiKey", summary="Create an API key", tag="api-keys", status=201, answer=IssuedKey,
            problems=(*WRITE_PROBLEMS, "not-grantable", "unsupported-media-type"),
            headers=(*_WRITTEN, "Location", "Link"),
            body=described(CreateKeyBody, examples=_CREATE_EXAMPLES),
        )  # fmt: skip
        routes.add(
            "PATCH", _KEY, self.change,
            operation_id="changeApiKey", summary="Change an API key", tag="api-keys", answer=KeyResource,
            problems=(*_ON_ONE, "not-grantable", "unsupported-media-type"), headers=_WRITTEN,
            body=described(ChangeKeyBody, MERGE_PATCH, JSON, examples=_CHANGE_EXAMPLES),
        )  # fmt: skip
        routes.add(
            "POST", _ROTATE, self.rotate,
            operation_id="rotateApiKey", summary="Give an API key a new secret", tag="api-keys", answer=IssuedKey,
            problems=(*_ON_ONE, "not-grantable", "unsupported-media-type"), headers=(*_WRITTEN, "Link"),
            body=described(RotateKeyBody, examples={"nothing": {}}, required=False),
        )  # fmt: skip
        routes.add(
            "DELETE", _KEY, self.revoke,
            operation_id="revokeApiKey", summary="Revoke an API key, for ever", tag="api-keys", status=204,
            problems=_ON_ONE, headers=_WRITTEN,
        )  # fmt: skip

    async def create(self, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Make a key. The answer holds its token, which is shown this once."""
        call = await self._open(request, idempotency_key, 201)
        caller, organization_id = call.principal, call.principal.organization_id
        key_id = self._randomness.resource_id("key")
        issued: list[Issued] = []

        async def prepare() -> Decide:
            body = await read_body(request, CreateKeyBody)
            issued.append(self._issuer.issue(organization_id, key_id, body.environment))
            command = CreateKey(
                organization_id=organization_id,
                key_id=key_id,
                type=body.type,
                owner_id=_owner_id(body, caller),
                name=body.name,
                description=body.description,
                role=body.role,
                environment=body.environment,
                expires_at=body.expires_at,
                secret=issued[0].secret,
                at=moment(self._clock.now()),
            )
            return lambda: self._decide_creation(caller, command)

        written = await self._writes.carry_out(call, 201, prepare)
        location = {"Location": f"{_KEYS}/{written.stream.facts[0].header.stream}"}
        return self._answer_issued(written, issued, location)

    async def _decide_creation(self, caller: Principal, command: CreateKey) -> Decision:
        owner_type = OWNER_TYPES[command.type]
        around = await look_around(
            self._ledger,
            command.organization_id,
            roles=[command.role],
            owner_id=command.owner_id,
            owner_type=owner_type,
        )
        if isinstance(around.owner, Nobody):
            raise _refused("owner_id", f"there is no such {OWNER_WORDS[owner_type]}")
        if around.undefined:
            raise _refused("role", "there is no such role")
        events = _decided(Absent(), command)
        check_grant(caller, around, [command.role])
        return Decision(stream=command.key_id, before=_NEW, events=events, guards=around.guards)

    async def change(
        self, request: Request, key_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Change name, description, role or expiry (JSON Merge Patch, RFC 7396); null removes what can be absent."""
        call = await self._open(request, idempotency_key, 200)

        async def prepare() -> Decide:
            body = await read_body(request, ChangeKeyBody, MERGE_PATCH, JSON)
            given = body.model_fields_set
            command = UpdateKey(
                key_id=key_id,
                at=moment(self._clock.now()),
                name=body.name if "name" in given else UNSET,
                description=body.description or "" if "description" in given else UNSET,
                role=body.role if "role" in given else UNSET,
                expires_at=body.expires_at if "expires_at" in given else UNSET,
            )
            roles = [] if command.role is UNSET else [command.role]
            return lambda: self._decide_on(call.principal, command, if_match, also_roles=roles)

        written = await self._writes.carry_out(call, 200, prepare)
        resource = KeyResource(**self._fields(written))
        return answer(written, self._positions, resource.model_dump_json())

    async def rotate(
        self, request: Request, key_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Give the key a new secret under the same id. The old one is dead from this answer on."""
        call = await self._open(request, idempotency_key, 200)
        issued: list[Issued] = []

        async def prepare() -> Decide:
            await read_body(request, RotateKeyBody, optional=True)

            async def decide_rotation() -> Decision:
                key = (await self._existing(call.principal, key_id))[0]
                if not issued:
                    issued.append(self._issuer.issue(key.organization_id, key_id, key.environment))
                return await self._decide_on(call.principal, RotateKey(key_id, issued[0].secret), if_match)

            return decide_rotation

        return self._answer_issued(await self._writes.carry_out(call, 200, prepare), issued)

    async def revoke(
        self, request: Request, key_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """End the key, for ever. It needs no right to grant: what is stolen must be stopped by whoever sees it."""
        call = await self._open(request, idempotency_key, 204)

        async def decide_revocation() -> Decision:
            key, stream = await self._existing(call.principal, key_id)
            check_if_match(if_match, stream.version)
            return Decision(stream=key_id, before=stream, events=_decided(key, RevokeKey(key_id)))

        async def prepare() -> Decide:
            return decide_revocation

        return answer(await self._writes.carry_out(call, 204, prepare), self._positions)

    async def _decide_on(
        self,
        caller: Principal,
        command: RotateKey | UpdateKey,
        if_match: str | None,
        *,
        also_roles: list[str | None] | None = None,
    ) -> Decision:
        """Decide on a key that exists, as somebody who may hand out what it can do, before and after."""
        key, stream = await self._existing(caller, command.key_id)
        check_if_match(if_match, stream.version)
        roles = [key.role, *(also_roles or [])]
        around = await look_around(
            self._ledger, key.organization_id, roles=roles, owner_id=key.owner_id, owner_type=key.owner_type
        )
        if around.undefined - {key.role}:
            raise _refused("role", "there is no such role")
        check_grant(caller, around, roles)
        return Decision(stream=key.key_id, before=stream, events=_decided(key, command), guards=around.guards)

    async def _existing(self, caller: Principal, key_id: str) -> tuple[Active, Stream]:
        """Return a living key of the caller's organization and its stream.

        Raises:
            Problem: ``not-found``, in the same words for an unknown, a foreign and a revoked key.
        """
        if is_resource_id(key_id, "key"):
            stream = (await load(self._ledger, [key_id]))[key_id]
            key = key_of(stream)
            if isinstance(key, Active) and key.organization_id == caller.organization_id:
                return key, stream
        raise Problem("not-found", "there is no such API key")

    async def _open(self, request: Request, idempotency_key: str | None, status: int) -> Call:
        return await self._writes.open(
            request,
            principal_of(request),
            source=self._authentication.source(request),
            idempotency_key=idempotency_key,
            status=status,
        )

    def _fields(self, written: Written) -> dict[str, Any]:
        return key_fields(written.stream, moment(self._clock.now()))

    def _answer_issued(self, written: Written, issued: list[Issued], headers: dict[str, str] | None = None) -> Response:
        """Answer with the token; a replayed call gets the way to a new one, as nobody keeps the first."""
        fields = self._fields(written)
        named = dict(headers or {})
        if written.replayed:
            rotate = _ROTATE.format(key_id=fields["id"])
            fields["key_hint"] = f"The secret was shown once and is not kept: POST {rotate} makes a new one"
            named["Link"] = f'<{rotate}>; rel="edit"; title="make a new secret"'
        else:
            fields["key"] = issued[0].token
        return answer(written, self._positions, IssuedKey(**fields).model_dump_json(exclude_unset=True), named)


def _owner_id(body: CreateKeyBody, caller: Principal) -> str:
    if body.owner_id is not None:
        return body.owner_id
    if body.type == "personal" and caller.user_id is not None:
        return caller.user_id
    why = "no person stands behind your API key" if body.type == "personal" else f"a {body.type} key needs an owner"
    raise _refused("owner_id", why)


def _decided(key: Absent | Active, command: KeyCommand) -> list[Any]:
    try:
        return list(decide(key, command))
    except KeyNotFound:
        raise Problem("not-found", "there is no such API key") from None
    except KeyRefused as refusal:
        raise _refused(refusal.field, refusal.why) from None


def _refused(field: str, why: str) -> Problem:
    return Problem("invalid-request", "see errors", errors=[(f"#/{field}", why)])


_ON_ONE: Final = (*WRITE_PROBLEMS, "not-found", "precondition-failed")
_CREATE_EXAMPLES: Final[dict[str, Any]] = {
    "shortest": {"name": "laptop"},
    "team": {
        "name": "checkout",
        "description": "Calls the agents of the shop",
        "type": "team",
        "owner_id": "team_01hXk3fJ7Qd2fW8yCu5OpR",
        "role": "developer",
        "environment": "prod",
        "expires_at": "2027-11-24T00:00:00Z",
    },
}
_CHANGE_EXAMPLES: Final[dict[str, Any]] = {
    "rename": {"name": "old laptop"},
    "never expire": {"expires_at": None},
}
