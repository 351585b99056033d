"""What may be sent: each body's form, checked before anything is decided."""

import json
import re
import unicodedata
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, NoReturn, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from keyledger.domain.events import Environment, KeyType
from keyledger.domain.identifiers import ROLE_ID
from keyledger.domain.metadata import MAX_BYTES, MAX_NAMES
from keyledger.domain.permissions import ANY, BUILTIN_ROLES, UNPRIVILEGED
from keyledger.verification.token import stands_in
from keyledger.web.documents import JSON
from keyledger.web.problems import Problem

MERGE_PATCH: Final = "application/merge-patch+json"
MAX_GRACE_SECONDS: Final = 30 * 24 * 3600
MAX_METADATA_DEPTH: Final = 5
MAX_NUMBER: Final = 2**53 - 1
Body = TypeVar("Body", bound=BaseModel)

_RFC3339: Final = re.compile(
    r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})", re.ASCII | re.IGNORECASE
)
_PERMISSION: Final = re.compile(r"^(\*|[A-Za-z0-9._-]{1,64}):(\*|[A-Za-z0-9._-]{1,64})$")
_ROLE_IDS: Final = ", ".join(builtin.role for builtin in BUILTIN_ROLES)
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def _fit_to_keep(text: str, *, allowed: str = "") -> str:
    if any(unicodedata.category(letter) == "Cc" and letter not in allowed for letter in text):
        raise PydanticCustomError("control_character", "Control characters are not allowed")
    if stands_in(text):
        raise PydanticCustomError("secret", "This is a key: it would be kept for ever and shown to others")
    return text


def _name(text: str) -> str:
    trimmed = _fit_to_keep(text).strip()
    if not trimmed:
        raise PydanticCustomError("empty_name", "There must be something in it besides white space")
    return trimmed


def _description(text: str) -> str:
    return _fit_to_keep(text, allowed="\n\r\t")


def _email(text: str) -> str:
    if _EMAIL.fullmatch(_fit_to_keep(text)) is None:
        raise PydanticCustomError("email", "This is no e-mail address")
    return text


def _role(text: str) -> str:
    if ROLE_ID.fullmatch(_fit_to_keep(text)) is None:
        raise PydanticCustomError("role", "Write a role's id, such as {ids}", {"ids": _ROLE_IDS})
    return text


def _grant(text: str) -> str:
    return text if text in {ANY, UNPRIVILEGED} else _role(text)


def _permission(text: str) -> str:
    if _PERMISSION.fullmatch(_fit_to_keep(text)) is None:
        raise PydanticCustomError("permission", "Write resource:action, either of which may be *")
    return text


def _time(value: object) -> object:
    """Return a time in UTC. Without an offset a time is a guess, and a number could be seconds or milliseconds."""
    if value is None:
        return None
    wrong = PydanticCustomError("time", "Write RFC 3339 with an offset, such as 2027-01-31T12:00:00Z")
    if not isinstance(value, str) or _RFC3339.fullmatch(value) is None:
        raise wrong
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise wrong from None


def _metadata(value: object, depth: int = 1) -> object:
    """Return a JSON value that we can keep and give back as it came."""
    match value:
        case str():
            return _fit_to_keep(_unicode(value))
        case dict() | list():
            if depth > MAX_METADATA_DEPTH:
                raise PydanticCustomError("depth", "Nest at most {most} deep", {"most": MAX_METADATA_DEPTH})
            for name in value if isinstance(value, dict) else ():
                _metadata(name)
            for item in value.values() if isinstance(value, dict) else value:
                _metadata(item, depth + 1)
        case int() | float() if not -MAX_NUMBER <= value <= MAX_NUMBER:  # RFC 7493, 2.2
            raise PydanticCustomError("number", "Write numbers beyond 2^53 as text: not everybody could read them")
        case _:
            pass
    return value


def _unicode(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("unicode", "A lone surrogate is no character") from None
    return text


Name = Annotated[
    str,
    Field(max_length=255, description="1 to 255 characters after trimming", examples=["checkout"]),
    AfterValidator(_name),
]
Description = Annotated[str, Field(max_length=1000), AfterValidator(_description)]
RoleId = Annotated[
    str,
    AfterValidator(_role),
    Field(
        json_schema_extra={"pattern": ROLE_ID.pattern},
        description="The id of a role: `viewer`, `developer`, `administrator`, `api_manager`, or one of yours",
        examples=["developer"],
    ),
]
Permissions = Annotated[
    list[
        Annotated[
            str,
            AfterValidator(_permission),
            Field(json_schema_extra={"pattern": _PERMISSION.pattern}, examples=["agents:read"]),
        ]
    ],
    Field(max_length=200, description="What the role allows: `resource:action`, `*` on either side"),
]
Grants = Annotated[
    list[Annotated[str, AfterValidator(_grant), Field(examples=["viewer"])]],
    Field(
        max_length=200,
        description="Which roles its holder may hand out, by their ids; `*`: every role; "
        f"`{UNPRIVILEGED}`: each that hands out nothing and may only read what is Keyledger's own",
    ),
]
Expiry = Annotated[
    datetime,
    BeforeValidator(_time, json_schema_input_type=str),
    Field(description="RFC 3339 with an offset, in the future", examples=["2027-01-31T12:00:00Z"]),
]
Metadata = Annotated[
    dict[str, Any],
    BeforeValidator(_metadata),
    Field(
        description=f"A JSON object of yours, kept in history for ever: at most {MAX_BYTES} bytes, {MAX_NAMES} names "
        f"in all, {MAX_METADATA_DEPTH} deep. Under a name null is like nothing (RFC 7396)",
        examples=[{"customer": "acme"}],
    ),
]
Email = Annotated[str, Field(max_length=254, examples=["ada@example.com"]), AfterValidator(_email)]


class _Closed(BaseModel):
    """A body whose unknown fields are refused: a misspelt one must not be lost silently."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class CreateKeyBody(_Closed):
    """A new API key. Its name and description are kept in history for ever: put nothing personal there."""

    name: Name
    description: Description = ""
    type: KeyType = "personal"
    owner_id: str | None = Field(
        default=None,
        description="A user, team or service account, as `type` says. Only a personal key of a caller who is a user "
        "may leave it out: then it is the caller.",
    )
    role: RoleId | None = Field(
        default=None, description="Only a personal key may leave it out: then it has its owner's"
    )
    environment: Environment = "dev"
    expires_at: Expiry | None = None
    metadata: Metadata = Field(default_factory=dict)


class ChangeKeyBody(_Closed):
    """What is to be changed of an API key (JSON Merge Patch, RFC 7396): null removes, what is absent stays."""

    name: Name = ""
    description: Description | None = Field(default=None, description="null: none")
    role: RoleId | None = Field(default=None, description="null, for a personal key only: its owner's")
    expires_at: Expiry | None = Field(default=None, description="null: never")
    metadata: Metadata | None = Field(
        default=None, description="Merged into what there is, at every depth: null removes a name, or all of it"
    )


class RotateKeyBody(_Closed):
    """How long the secret until now works on. The body may be left out: it dies at once."""

    grace_seconds: int = Field(
        default=0,
        ge=0,
        le=MAX_GRACE_SECONDS,
        strict=True,
        description="The secret until now works on for so long, beside the new one; 0: it dies at once. At most two "
        "work at a time: one that still had a grace from an earlier rotation dies at once, whatever is asked for here",
    )


class RevokeQuery(_Closed):
    """Why a key is revoked. What an owner's deactivation ends says so by itself."""

    reason: Literal["unspecified", "leaked", "superseded", "no_longer_needed"] = Field(
        default="unspecified", description="Kept for ever and shown with the revoked key", examples=["leaked"]
    )


class EmptyBody(_Closed):
    """Nothing can be chosen. The body may be left out."""


class CreateUserBody(_Closed):
    """A new user. Name and address are kept apart from the events and can be erased."""

    name: Name
    email: Email | None = None
    role: RoleId | None = Field(default=None, description="Short for `roles` with one; `viewer` without either")
    roles: list[RoleId] | None = Field(default=None, min_length=1, max_length=16)

    @model_validator(mode="after")
    def _either(self) -> "CreateUserBody":
        if self.role is not None and self.roles is not None:
            raise PydanticCustomError("role_and_roles", "Send role or roles, not both")
        return self

    @property
    def all_roles(self) -> tuple[str, ...]:
        """The roles that were asked for, each once."""
        return tuple(dict.fromkeys(self.roles or [self.role or "viewer"]))


class CreateRoleBody(_Closed):
    """A new role. Nobody gives a role what their own key does not have."""

    id: RoleId
    name: Name
    permissions: Permissions
    grants: Grants = []


class ChangeRoleBody(_Closed):
    """What is to be changed of a role (JSON Merge Patch, RFC 7396): a list that is sent takes the other's place."""

    name: Name = ""
    permissions: Permissions = []
    grants: Grants = []


class CreateTeamBody(_Closed):
    """A new team. Its name is kept in history for ever."""

    name: Name


class CreateServiceAccountBody(_Closed):
    """A new service account. Its name and description are kept in history for ever."""

    name: Name
    description: Description = ""


async def read_body(request: Request, form: type[Body], *media_types: str, optional: bool = False) -> Body:
    """Return the body of a request; with ``optional`` none at all is an empty object.

    Raises:
        Problem: 400 where it is no JSON, 413 where it is too long, 415 where its media type is none of these
            (``application/json`` by default), 422 with a pointer to each field that is not as it must be.
    """
    accepted = media_types or (JSON,)
    raw = await request.body()
    if optional and not raw:
        return form.model_validate({})
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in accepted:
        headers = {"Accept-Patch": ", ".join(accepted)} if request.method == "PATCH" else {}
        raise Problem("unsupported-media-type", f"send {' or '.join(accepted)}", headers=headers)
    sent = _parse(raw)
    if not isinstance(sent, dict):
        raise Problem("invalid-request", "see errors", errors=[("#", "The body must be a JSON object")])
    try:
        return form.model_validate(sent)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)
        raise RequestValidationError([{**item, "loc": ("body", *item["loc"])} for item in found]) from None


def _parse(raw: bytes) -> object:
    try:
        return _JSON.decode(raw.decode())
    except (ValueError, RecursionError):  # UnicodeDecodeError is a ValueError too
        raise Problem("malformed-request", "the body is not JSON") from None


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def _without_repetition(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the object. Of two members with one name, which is meant is anybody's guess (RFC 8259, 4)."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands twice in an object")
    return found


_JSON: Final = json.JSONDecoder(parse_constant=_refuse_constant, object_pairs_hook=_without_repetition)


def described(form: type[BaseModel], *media_types: str, examples: Mapping[str, Any], required: bool = True) -> Any:
    """Return the OpenAPI description of a body that ``read_body`` reads."""
    schema = form.model_json_schema()
    named = {name: {"value": value} for name, value in examples.items()}
    content = {media_type: {"schema": schema, "examples": named} for media_type in media_types or (JSON,)}
    return {"requestBody": {"required": required, "content": content}}


NOTHING: Final = described(EmptyBody, examples={"nothing": {}}, required=False)
"""How a command without a choice is documented."""
