"""Roles of an organization: built-in ones and those of its own. Reads fold the ledger, so they are never behind."""

from typing import Annotated, Any, Final

from fastapi import Query, Request
from fastapi.responses import Response
from msgspec import UNSET
from msgspec.structs import replace
from pydantic import BaseModel, ConfigDict, Field

from keyledger.domain.identifiers import role_streams
from keyledger.domain.permissions import Role
from keyledger.domain.roles import ChangeRole, DefineRole, Undefined
from keyledger.eventstore.port import Ledger
from keyledger.web.conditions import IfMatch, etag
from keyledger.web.cursors import Cursors
from keyledger.web.documents import JSON, POSITION_HEADER
from keyledger.web.idempotency import IdempotencyKey
from keyledger.web.pages import next_link, next_link_header, refuse_repetition
from keyledger.web.positions import PositionTokens
from keyledger_commands.answering import AtLeast, answer, reflected
from keyledger_commands.bodies import MERGE_PATCH, ChangeRoleBody, CreateRoleBody, described, read_body
from keyledger_commands.caller import caller_of
from keyledger_commands.role_decisions import RoleInUse, change, closing, definition, deletion, existing_role
from keyledger_commands.routing import READ_PROBLEMS, WRITE_PROBLEMS, WRITTEN, Routes
from keyledger_commands.streams import Stream, Streams
from keyledger_commands.views import RolePage, RoleResource, role_resource
from keyledger_commands.writing import Decide, Writes

_ROLES: Final = "/v1/roles"
_ROLE: Final = "/v1/roles/{role}"
_EXAMPLE_CURSOR: Final = "q1vZ0m8hT5b2dJ7wXk3LsCJkZXBsb3llciI"


class RoleQuery(BaseModel):
    """Which page of roles."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=50, ge=1, le=200, description="The most roles in one page")
    cursor: str | None = Field(default=None, max_length=1000, description="The `next_cursor` of the page before")


class RolesApi:
    """The routes of roles."""

    def __init__(
        self, ledger: Ledger, streams: Streams, writes: Writes, *, positions: PositionTokens, cursors: Cursors
    ) -> None:
        self._ledger, self._streams, self._writes = ledger, streams, writes
        self._positions, self._cursors = positions, cursors

    def add_to(self, routes: Routes) -> None:
        """Add the routes."""
        writes = (*WRITE_PROBLEMS, "unsupported-media-type", "not-grantable")
        routes.add(
            "POST", _ROLES, self.create,
            operation_id="createRole", summary="Define a role", tag="roles", status=201, answer=RoleResource,
            problems=(*writes, "role-exists"), headers=(*WRITTEN, "Location"),
            body=described(CreateRoleBody, examples=_CREATE_EXAMPLES),
        )  # fmt: skip
        routes.add(
            "GET", _ROLES, self.read_page,
            operation_id="listRoles", summary="List roles", tag="roles", answer=RolePage,
            problems=READ_PROBLEMS, headers=(POSITION_HEADER,), paged=next_link_header(_ROLES, _EXAMPLE_CURSOR),
        )  # fmt: skip
        routes.add(
            "GET", _ROLE, self.read,
            operation_id="readRole", summary="Read a role", tag="roles", answer=RoleResource,
            problems=READ_PROBLEMS, headers=("ETag", POSITION_HEADER),
        )  # fmt: skip
        routes.add(
            "PATCH", _ROLE, self.change,
            operation_id="changeRole", summary="Change a role", tag="roles", answer=RoleResource,
            problems=(*writes, "not-found", "precondition-failed", "builtin-role"), headers=WRITTEN,
            body=described(ChangeRoleBody, MERGE_PATCH, JSON, examples=_CHANGE_EXAMPLES),
        )  # fmt: skip
        routes.add(
            "DELETE", _ROLE, self.delete,
            operation_id="deleteRole", summary="Delete a role that nobody has", tag="roles", status=204,
            problems=(*WRITE_PROBLEMS, "not-found", "precondition-failed", "builtin-role", "role-in-use"),
            headers=WRITTEN,
        )  # fmt: skip

    async def create(self, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Define a role. It may have no permission and no grant that the caller's key does not have itself."""
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=201)

        async def prepare() -> Decide:
            body = await read_body(request, CreateRoleBody)
            new = Role(body.id, body.name, frozenset(body.permissions), frozenset(body.grants))
            command = DefineRole(call.caller.principal.organization_id, new)
            return lambda caller, read: definition(caller, read, command)

        written = await self._writes.carry_out(call, 201, prepare)
        made = role_resource(written.stream)
        return answer(written, self._positions, made.model_dump_json(), {"Location": f"{_ROLES}/{made.id}"})

    async def change(
        self, request: Request, role: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Change name, permissions or grants (JSON Merge Patch, RFC 7396). Every key that has the role follows."""
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=200)

        async def prepare() -> Decide:
            body = await read_body(request, ChangeRoleBody, MERGE_PATCH, JSON)
            given = body.model_fields_set
            command = ChangeRole(
                role=role,
                name=body.name if "name" in given else UNSET,
                permissions=frozenset(body.permissions) if "permissions" in given else UNSET,
                grants=frozenset(body.grants) if "grants" in given else UNSET,
            )
            return lambda caller, read: change(caller, read, command, if_match)

        written = await self._writes.carry_out(call, 200, prepare)
        return answer(written, self._positions, role_resource(written.stream).model_dump_json())

    async def delete(
        self, request: Request, role: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Delete a role that no user, no living key and no role's grants name; else the answer says what does.

        It is closed first, so that nobody gets it while it is looked for. Where that is as far as it came, another
        DELETE finishes it.
        """
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=204)
        step = replace(call, claim=None)  # its end alone is what the Idempotency-Key stands for

        async def close() -> Decide:
            return lambda caller, read: closing(caller, read, role, if_match)

        async def prepare() -> Decide:
            await self._writes.carry_out(step, 204, close)
            return lambda caller, read: deletion(caller, read, role, self._ledger)

        async def open_again() -> Decide:
            return lambda caller, read: change(caller, read, ChangeRole(role=role), None)

        try:
            written = await self._writes.carry_out(call, 204, prepare)
        except RoleInUse:
            await self._writes.carry_out(step, 204, open_again)
            raise
        return answer(written, self._positions)

    async def read(self, request: Request, role: str, at_least: AtLeast = None) -> Response:
        """Read a role."""
        here = await reflected(self._ledger, self._positions, at_least)
        stream = await existing_role(caller_of(request).principal, self._streams.load, role)
        return Response(role_resource(stream).model_dump_json(), 200, {"ETag": etag(stream.version), **here}, JSON)

    async def read_page(
        self, request: Request, query: Annotated[RoleQuery, Query()], at_least: AtLeast = None
    ) -> Response:
        """Roles of the caller's organization, built-in ones too, in the order of their ids."""
        refuse_repetition(request)
        organization_id = caller_of(request).principal.organization_id
        question = ("roles", organization_id)
        after = "" if query.cursor is None else self._cursors.read(query.cursor, question, str)
        here = await reflected(self._ledger, self._positions, at_least)
        found = [role_resource(stream) for stream in await self._after(organization_id, after, query.limit + 1)]
        page = RolePage(data=found[: query.limit], next_cursor=None)
        if len(found) > query.limit:
            page.next_cursor = self._cursors.write(question, page.data[-1].id)
            here["Link"] = next_link(request, page.next_cursor)
        return Response(page.model_dump_json(), 200, here, JSON)

    async def _after(self, organization_id: str, role: str, limit: int) -> list[Stream]:
        """Return the streams of up to ``limit`` roles behind a role's id. Deleted ones have a stream, too."""
        prefix = role_streams(organization_id)
        found, after, more = list[Stream](), prefix + role, True
        while more and len(found) < limit:
            names = await self._ledger.streams(prefix, after=after, limit=limit)
            loaded = await self._streams.load(names)
            found += [loaded[name] for name in names if not isinstance(loaded[name].role, Undefined)]
            after, more = names[-1] if names else after, len(names) == limit
        return found[:limit]


_CREATE_EXAMPLES: Final[dict[str, Any]] = {
    "platform": {"id": "deployer", "name": "Deployer", "permissions": ["agents:*", "deployments:create"]},
    "granting": {
        "id": "lead",
        "name": "Team lead",
        "permissions": ["*:read", "api-keys:create"],
        "grants": ["viewer", "deployer"],
    },
}
_CHANGE_EXAMPLES: Final[dict[str, Any]] = {
    "rename": {"name": "Deployer of agents"},
    "other permissions": {"permissions": ["agents:*"]},
}
