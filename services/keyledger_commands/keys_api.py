"""Writing API keys: create, change, rotate, disable and enable, revoke. They are listed and read by the directory."""

from typing import Annotated, Any, Final

from fastapi import Query, Request
from fastapi.responses import Response
from msgspec import UNSET

from keyledger.contracts.ports import Clock, Randomness
from keyledger.domain.keys import (
    Active,
    CreateKey,
    DisableKey,
    EnableKey,
    FinishRotation,
    RevokeKey,
    RotateKey,
    UpdateKey,
)
from keyledger.domain.times import moment
from keyledger.web.conditions import IfMatch
from keyledger.web.documents import JSON
from keyledger.web.idempotency import IdempotencyKey
from keyledger.web.pages import refuse_repetition
from keyledger.web.positions import PositionTokens
from keyledger.web.resources import KeyResource
from keyledger_commands.answering import answer
from keyledger_commands.bodies import (
    MERGE_PATCH,
    NOTHING,
    ChangeKeyBody,
    CreateKeyBody,
    EmptyBody,
    RevokeQuery,
    RotateKeyBody,
    described,
    read_body,
)
from keyledger_commands.issuing import Issued, Issuer
from keyledger_commands.key_decisions import creation, on_living, owner_id_for, revocation
from keyledger_commands.routing import WRITE_PROBLEMS, WRITTEN, Routes
from keyledger_commands.views import IssuedKey, key_fields
from keyledger_commands.writing import Decide, Writes, Written

_KEYS: Final = "/v1/api-keys"
_KEY: Final = "/v1/api-keys/{key_id}"
_ROTATE: Final = "/v1/api-keys/{key_id}/rotate"
_FINISH: Final = "/v1/api-keys/{key_id}/rotate/finish"
_DISABLE: Final = "/v1/api-keys/{key_id}/disable"
_ENABLE: Final = "/v1/api-keys/{key_id}/enable"


class KeysApi:
    """The routes of keys that write."""

    def __init__(
        self,
        writes: Writes,
        *,
        issuer: Issuer,
        positions: PositionTokens,
        clock: Clock,
        randomness: Randomness,
    ) -> None:
        self._writes, self._issuer, self._positions = writes, issuer, positions
        self._clock, self._randomness = clock, randomness

    def add_to(self, routes: Routes) -> None:
        """Add the routes."""
        routes.add(
            "POST", _KEYS, self.create,
            operation_id="createApiKey", summary="Create an API key", tag="api-keys", status=201, answer=IssuedKey,
            problems=(*WRITE_PROBLEMS, "not-grantable", "unsupported-media-type"),
            headers=(*WRITTEN, "Location", "Link"),
            body=described(CreateKeyBody, examples=_CREATE_EXAMPLES),
        )  # fmt: skip
        routes.add(
            "PATCH", _KEY, self.change,
            operation_id="changeApiKey", summary="Change an API key", tag="api-keys", answer=KeyResource,
            problems=(*_ON_ONE, "not-grantable", "unsupported-media-type"), headers=WRITTEN,
            body=described(ChangeKeyBody, MERGE_PATCH, JSON, examples=_CHANGE_EXAMPLES),
        )  # fmt: skip
        routes.add(
            "POST", _ROTATE, self.rotate,
            operation_id="rotateApiKey", summary="Give an API key a new secret", tag="api-keys", answer=IssuedKey,
            problems=(*_ON_ONE, "not-grantable", "unsupported-media-type"), headers=(*WRITTEN, "Link"),
            body=described(RotateKeyBody, examples=_ROTATE_EXAMPLES, required=False),
        )  # fmt: skip
        routes.add(
            "POST", _FINISH, self.finish_rotation,
            operation_id="finishApiKeyRotation", summary="End the grace of an API key's old secret now",
            tag="api-keys", answer=KeyResource, problems=(*_ON_ONE, "unsupported-media-type"), headers=WRITTEN,
            body=NOTHING,
        )  # fmt: skip
        routes.add(
            "POST", _DISABLE, self.disable,
            operation_id="disableApiKey", summary="Disable an API key until it is enabled again",
            tag="api-keys", answer=KeyResource, problems=(*_ON_ONE, "unsupported-media-type"), headers=WRITTEN,
            body=NOTHING,
        )  # fmt: skip
        routes.add(
            "POST", _ENABLE, self.enable,
            operation_id="enableApiKey", summary="Enable a disabled API key", tag="api-keys", answer=KeyResource,
            problems=(*_ON_ONE, "not-grantable", "unsupported-media-type"), headers=WRITTEN, body=NOTHING,
        )  # fmt: skip
        routes.add(
            "DELETE", _KEY, self.revoke,
            operation_id="revokeApiKey", summary="Revoke an API key, for ever", tag="api-keys", status=204,
            problems=_ON_ONE, headers=WRITTEN,
        )  # fmt: skip

    async def create(self, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Make a key. The answer holds its token, which is shown this once."""
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=201)
        organization_id = call.caller.principal.organization_id
        key_id = self._randomness.resource_id("key")
        issued: list[Issued] = []

        async def prepare() -> Decide:
            body = await read_body(request, CreateKeyBody)
            issued.append(self._issuer.issue(organization_id, key_id, body.environment))
            command = CreateKey(
                organization_id=organization_id,
                key_id=key_id,
                type=body.type,
                owner_id=owner_id_for(body, call.caller.principal),
                name=body.name,
                description=body.description,
                role=body.role,
                environment=body.environment,
                expires_at=body.expires_at,
                secret=issued[0].secret,
                metadata=body.metadata,
                at=moment(self._clock.now()),
            )
            return lambda caller, read: creation(caller, read, command)

        written = await self._writes.carry_out(call, 201, prepare)
        location = {"Location": f"{_KEYS}/{written.stream.facts[0].header.stream}"}
        return self._answer_issued(written, issued, location)

    async def change(
        self, request: Request, key_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Change what can be changed (JSON Merge Patch, RFC 7396); null removes what can be absent."""
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=200)

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
                metadata=body.metadata if "metadata" in given else UNSET,
            )
            roles = [] if command.role is UNSET else [command.role]
            return lambda caller, read: on_living(caller, read, key_id, lambda _: command, if_match, also_roles=roles)

        return self._answer(await self._writes.carry_out(call, 200, prepare))

    async def rotate(
        self, request: Request, key_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Give the key a new secret under the same id. The old one is dead from this answer on, or after a grace.

        Two secrets work at a time, no more: a rotation during a grace ends at once the one that had it, and the secret
        until now gets the grace that is asked for here. The key's `secrets` say which work and until when.
        """
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=200)
        issued: list[Issued] = []

        async def prepare() -> Decide:
            body = await read_body(request, RotateKeyBody, optional=True)
            at = moment(self._clock.now())

            def command(key: Active) -> RotateKey:
                if not issued:
                    issued.append(self._issuer.issue(key.organization_id, key_id, key.environment))
                return RotateKey(key_id=key_id, secret=issued[0].secret, at=at, grace_seconds=body.grace_seconds)

            return lambda caller, read: on_living(caller, read, key_id, command, if_match)

        return self._answer_issued(await self._writes.carry_out(call, 200, prepare), issued)

    async def finish_rotation(
        self, request: Request, key_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """End a grace now: only the newest secret works from this answer on. Without a grace nothing happens.

        It needs no right to grant, as it only takes away.
        """
        return await self._command(request, FinishRotation(key_id), idempotency_key, if_match, gives=False)

    async def disable(
        self, request: Request, key_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Refuse the key from this answer on, until it is enabled again. To disable a disabled key changes nothing.

        It needs no right to grant, as it only takes away.
        """
        return await self._command(request, DisableKey(key_id), idempotency_key, if_match, gives=False)

    async def enable(
        self, request: Request, key_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Let a disabled key work again, as somebody who may hand out its role. All else about it is as before."""
        return await self._command(request, EnableKey(key_id), idempotency_key, if_match, gives=True)

    async def revoke(
        self,
        request: Request,
        key_id: str,
        query: Annotated[RevokeQuery, Query()],
        idempotency_key: IdempotencyKey = None,
        if_match: IfMatch = None,
    ) -> Response:
        """End the key, for ever. It needs no right to grant: what is stolen must be stopped by whoever sees it."""
        refuse_repetition(request)
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=204)

        async def prepare() -> Decide:
            command = RevokeKey(key_id, query.reason)
            return lambda caller, read: revocation(caller, read, command, if_match)

        return answer(await self._writes.carry_out(call, 204, prepare), self._positions)

    async def _command(
        self,
        request: Request,
        command: FinishRotation | DisableKey | EnableKey,
        idempotency_key: str | None,
        if_match: str | None,
        *,
        gives: bool,
    ) -> Response:
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=200)

        async def prepare() -> Decide:
            await read_body(request, EmptyBody, optional=True)
            return lambda caller, read: on_living(
                caller, read, command.key_id, lambda _: command, if_match, gives=gives
            )

        return self._answer(await self._writes.carry_out(call, 200, prepare))

    def _answer(self, written: Written) -> Response:
        return answer(written, self._positions, KeyResource(**self._fields(written)).model_dump_json())

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
        "metadata": {"customer": "acme"},
    },
}
_ROTATE_EXAMPLES: Final[dict[str, Any]] = {
    "at once": {},
    "an hour to deploy the new one": {"grace_seconds": 3600},
}
_CHANGE_EXAMPLES: Final[dict[str, Any]] = {
    "rename": {"name": "old laptop"},
    "other role": {"role": "viewer"},
    "attach one thing, remove another": {"metadata": {"customer": "acme", "trial": None}},
}
