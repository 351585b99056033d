"""Users, teams and service accounts. Reads fold the ledger, so they are never behind."""

from collections.abc import Callable
from typing import Final, TypeVar

from fastapi import Request
from fastapi.responses import Response
from msgspec import Struct
from pydantic import BaseModel

from keyledger.contracts.ports import Randomness
from keyledger.domain.events import OwnerType
from keyledger.domain.people import (
    CreateServiceAccount,
    CreateTeam,
    CreateUser,
    DeactivatedUser,
    DeactivateUser,
    OwnerCreation,
    ReactivateUser,
    User,
)
from keyledger.eventstore.port import Ledger, Profile
from keyledger.web.conditions import IfMatch, etag
from keyledger.web.documents import JSON
from keyledger.web.idempotency import IdempotencyKey
from keyledger.web.positions import PositionTokens
from keyledger.web.principal import Principal
from keyledger_commands.answering import AtLeast, answer, reflected
from keyledger_commands.bodies import (
    NOTHING,
    CreateServiceAccountBody,
    CreateTeamBody,
    CreateUserBody,
    EmptyBody,
    described,
    read_body,
)
from keyledger_commands.caller import caller_of
from keyledger_commands.people_decisions import change_of_user, existing_owner, owner_creation
from keyledger_commands.routing import READ_PROBLEMS, WRITE_PROBLEMS, WRITTEN, Routes
from keyledger_commands.streams import Read, Stream, Streams
from keyledger_commands.views import ServiceAccountResource, TeamResource, UserResource, owner_resource
from keyledger_commands.writing import Decide, Decision, Writes

_MADE: Final = (*WRITTEN, "Location")
_READ: Final = ("ETag", "Keyledger-Position")


class _Creation(Struct, frozen=True):
    """A new owner as it was asked for, and what is kept beside its events."""

    command: OwnerCreation
    profile: Profile | None = None


Body = TypeVar("Body", bound=BaseModel)


class PeopleApi:
    """The routes of users, teams and service accounts."""

    def __init__(
        self,
        ledger: Ledger,
        streams: Streams,
        writes: Writes,
        *,
        positions: PositionTokens,
        randomness: Randomness,
    ) -> None:
        self._ledger, self._streams, self._writes = ledger, streams, writes
        self._positions, self._randomness = positions, randomness

    def add_to(self, routes: Routes) -> None:
        """Add the routes."""
        writes = (*WRITE_PROBLEMS, "unsupported-media-type")
        on_one = (*writes, "not-found", "precondition-failed")
        routes.add(
            "POST", "/v1/users", self.create_user,
            operation_id="createUser", summary="Create a user", tag="people", status=201, answer=UserResource,
            problems=(*writes, "not-grantable"), headers=_MADE,
            body=described(CreateUserBody, examples={"developer": {"name": "Ada Lovelace", "role": "developer"}}),
        )  # fmt: skip
        routes.add(
            "GET", "/v1/users/{user_id}", self.read_user,
            operation_id="readUser", summary="Read a user", tag="people", answer=UserResource,
            problems=READ_PROBLEMS, headers=_READ,
        )  # fmt: skip
        routes.add(
            "POST", "/v1/users/{user_id}/deactivate", self.deactivate_user,
            operation_id="deactivateUser", summary="Deactivate a user: all of their personal keys are dead, for ever",
            tag="people", answer=UserResource, problems=(*on_one, "self-deactivation"), headers=WRITTEN, body=NOTHING,
        )  # fmt: skip
        routes.add(
            "POST", "/v1/users/{user_id}/reactivate", self.reactivate_user,
            operation_id="reactivateUser", summary="Give a user their roles again, and none of their earlier keys",
            tag="people", answer=UserResource, problems=(*on_one, "not-grantable"), headers=WRITTEN, body=NOTHING,
        )  # fmt: skip
        routes.add(
            "POST", "/v1/teams", self.create_team,
            operation_id="createTeam", summary="Create a team", tag="people", status=201, answer=TeamResource,
            problems=writes, headers=_MADE,
            body=described(CreateTeamBody, examples={"team": {"name": "Payments"}}),
        )  # fmt: skip
        routes.add(
            "GET", "/v1/teams/{team_id}", self.read_team,
            operation_id="readTeam", summary="Read a team", tag="people", answer=TeamResource,
            problems=READ_PROBLEMS, headers=_READ,
        )  # fmt: skip
        routes.add(
            "POST", "/v1/service-accounts", self.create_service_account,
            operation_id="createServiceAccount", summary="Create a service account", tag="people", status=201,
            answer=ServiceAccountResource, problems=writes, headers=_MADE,
            body=described(CreateServiceAccountBody, examples={"export": {"name": "nightly export"}}),
        )  # fmt: skip
        routes.add(
            "GET", "/v1/service-accounts/{service_account_id}", self.read_service_account,
            operation_id="readServiceAccount", summary="Read a service account", tag="people",
            answer=ServiceAccountResource, problems=READ_PROBLEMS, headers=_READ,
        )  # fmt: skip

    async def create_user(self, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Make a user. One may only hand out roles that the caller's own role grants."""

        def creation(body: CreateUserBody, organization_id: str, user_id: str) -> _Creation:
            command = CreateUser(organization_id=organization_id, user_id=user_id, roles=body.all_roles)
            return _Creation(command, Profile(user_id, body.name, body.email))

        return await self._create(request, "user", CreateUserBody, creation, idempotency_key)

    async def deactivate_user(
        self, request: Request, user_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Deactivate a user. One event ends all of their personal keys, for ever: reactivation brings none back.

        Nobody can deactivate themselves: so an organization always has somebody who can undo it.
        """

        def command(caller: Principal) -> DeactivateUser:
            return DeactivateUser(user_id, by=caller.user_id)

        return await self._change_user(request, command, idempotency_key, if_match)

    async def reactivate_user(
        self, request: Request, user_id: str, idempotency_key: IdempotencyKey = None, if_match: IfMatch = None
    ) -> Response:
        """Give a user their roles again, as somebody who may hand these out. Their earlier keys stay dead."""
        return await self._change_user(request, lambda _: ReactivateUser(user_id), idempotency_key, if_match)

    async def create_team(self, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Make a team."""

        def creation(body: CreateTeamBody, organization_id: str, team_id: str) -> _Creation:
            return _Creation(CreateTeam(organization_id=organization_id, team_id=team_id, name=body.name))

        return await self._create(request, "team", CreateTeamBody, creation, idempotency_key)

    async def create_service_account(self, request: Request, idempotency_key: IdempotencyKey = None) -> Response:
        """Make a service account."""

        def creation(body: CreateServiceAccountBody, organization_id: str, service_account_id: str) -> _Creation:
            command = CreateServiceAccount(
                organization_id=organization_id,
                service_account_id=service_account_id,
                name=body.name,
                description=body.description,
            )
            return _Creation(command)

        return await self._create(request, "service", CreateServiceAccountBody, creation, idempotency_key)

    async def read_user(self, request: Request, user_id: str, at_least: AtLeast = None) -> Response:
        """Read a user; name and address are null once they are erased."""
        return await self._read(request, "user", user_id, at_least)

    async def read_team(self, request: Request, team_id: str, at_least: AtLeast = None) -> Response:
        """Read a team."""
        return await self._read(request, "team", team_id, at_least)

    async def read_service_account(
        self, request: Request, service_account_id: str, at_least: AtLeast = None
    ) -> Response:
        """Read a service account."""
        return await self._read(request, "service", service_account_id, at_least)

    async def _create(
        self,
        request: Request,
        kind: OwnerType,
        form: type[Body],
        creation: Callable[[Body, str, str], _Creation],
        idempotency_key: str | None,
    ) -> Response:
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=201)
        owner_id = self._randomness.resource_id(kind)
        created: list[_Creation] = []

        async def prepare() -> Decide:
            created.append(creation(await read_body(request, form), call.caller.principal.organization_id, owner_id))
            new = created[0]
            return lambda caller, read: owner_creation(caller, read, owner_id, new.command, new.profile)

        written = await self._writes.carry_out(call, 201, prepare)
        profile = created[0].profile if created else await self._profile(written.stream)
        resource = owner_resource(written.stream.owner, written.stream, profile)
        location = {"Location": f"{request.url.path}/{written.stream.facts[0].header.stream}"}
        return answer(written, self._positions, resource.model_dump_json(), location)

    async def _change_user(
        self,
        request: Request,
        command: Callable[[Principal], DeactivateUser | ReactivateUser],
        idempotency_key: str | None,
        if_match: str | None,
    ) -> Response:
        call = await self._writes.open(request, idempotency_key=idempotency_key, status=200)
        profiles: list[Profile | None] = []

        async def decide(caller: Principal, read: Read) -> Decision:
            decision = await change_of_user(caller, read, command(caller), if_match)
            profiles[:] = [await self._profile(decision.before)]  # not after it is written: the ledger might be gone
            return decision

        async def prepare() -> Decide:
            await read_body(request, EmptyBody, optional=True)
            return decide

        written = await self._writes.carry_out(call, 200, prepare)
        profile = profiles[0] if profiles else await self._profile(written.stream)
        resource = owner_resource(written.stream.owner, written.stream, profile)
        return answer(written, self._positions, resource.model_dump_json())

    async def _read(self, request: Request, kind: OwnerType, owner_id: str, at_least: str | None) -> Response:
        here = await reflected(self._ledger, self._positions, at_least)  # before the rest: it holds at least this
        stream = await existing_owner(caller_of(request).principal, self._streams.load, kind, owner_id)
        resource = owner_resource(stream.owner, stream, await self._profile(stream))
        return Response(resource.model_dump_json(), 200, {"ETag": etag(stream.version), **here}, JSON)

    async def _profile(self, stream: Stream) -> Profile | None:
        owner = stream.owner
        match owner:
            case User(user_id=user_id) | DeactivatedUser(last=User(user_id=user_id)):
                return (await self._ledger.profiles([user_id])).get(user_id)
            case _:
                return None
