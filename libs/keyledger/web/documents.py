"""What an OpenAPI document says of every route: its problems and its headers."""

from collections import defaultdict
from typing import Any, Final

from fastapi.security import HTTPBearer
from pydantic import BaseModel, ConfigDict, Field

from keyledger.contracts.problems import PROBLEMS
from keyledger.web.problems import MEDIA_TYPE


class FieldProblem(BaseModel):
    """One invalid part of a request: a JSON pointer into the body, or ``header:``/``query:`` and a name."""

    pointer: str
    detail: str


class ProblemBody(BaseModel):
    """A refusal (RFC 9457). ``code`` is stable and may be acted on; ``detail`` is for people."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:keyledger:problem:invalid-request",
                    "title": PROBLEMS["invalid-request"].title,
                    "status": 422,
                    "code": "invalid-request",
                    "request_id": "req_5f0c1d2e3b4a59687786a5b4",
                    "detail": "see errors",
                    "errors": [{"pointer": "#/name", "detail": "Field required"}],
                },
            ],
        },
    )

    type: str
    title: str
    status: int
    code: str
    request_id: str
    detail: str | None = None
    errors: list[FieldProblem] = Field(default_factory=list)


JSON: Final = "application/json"

BEARER: Final = HTTPBearer(
    scheme_name="apiKey",
    bearerFormat="Keyledger API key",
    auto_error=False,
    description="An API key, as a Bearer token",
)
"""For the document alone: what is sent is judged by ``Authenticate``."""

AUTHENTICATED: Final = (
    "ambiguous-credential",
    "missing-credential",
    "invalid-credential",
    "expired",
    "revoked",
    "owner-deactivated",
    "disabled",
    "insufficient-permission",
    "internal",
)
"""What every route that needs a permission may answer."""

POSITION_HEADER: Final = "Keyledger-Position"

_HEADERS: Final[dict[str, tuple[str, str]]] = {
    "ETag": ("The version, for If-Match", '"3"'),
    POSITION_HEADER: ("Send it as Keyledger-At-Least to read what was written", "AQ8c..."),
    "Location": ("Where it is found from now on", "/v1/api-keys/key_01hXk3fJ7Qb4dU6wAs3MnP"),
    "Idempotency-Replayed": ("`true`: nothing was done now, this request was carried out before", "true"),
    "Link": ("In a replayed answer: where a new secret is made, as the old one is not shown again", "<...>; rel=edit"),
}


def answered_headers(*names: str) -> dict[str, Any]:
    """Return the description of an answer's headers."""
    return {
        name: {"description": text, "schema": {"type": "string"}, "example": example}
        for name, (text, example) in ((name, _HEADERS[name]) for name in names)
    }


def problem_answers(*codes: str) -> dict[int | str, dict[str, Any]]:
    """Return the ``responses`` of a route that may answer these problems, grouped by status."""
    by_status: dict[int, list[str]] = defaultdict(list)
    for code in codes:
        by_status[PROBLEMS[code].status].append(code)
    return {
        status: {
            "description": "; ".join(f"`{code}`: {PROBLEMS[code].title}" for code in at_status),
            "model": ProblemBody,
            "content": {JSON: {"examples": {code: {"value": _example(code)} for code in at_status}}},
        }
        for status, at_status in sorted(by_status.items())
    }


def _example(code: str) -> dict[str, Any]:
    problem = PROBLEMS[code]
    return {
        "type": f"urn:keyledger:problem:{code}",
        "title": problem.title,
        "status": problem.status,
        "code": code,
        "request_id": "req_5f0c1d2e3b4a59687786a5b4",
    }


def name_media_types(document: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI document with problems under their own media type: FastAPI knows one for all answers."""
    for path in document.get("paths", {}).values():
        for operation in path.values():
            for response in operation["responses"].values():
                content = response.get("content", {})
                if content.get(JSON, {}).get("schema", {}).get("$ref", "").endswith("/ProblemBody"):
                    content[MEDIA_TYPE] = content.pop(JSON)
    return document


def complete_examples(document: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI document with the nulls in its examples that FastAPI drops: what is required stands there."""
    for schema in document.get("components", {}).get("schemas", {}).values():
        for example in schema.get("examples", []):
            for name in schema.get("required", []):
                example.setdefault(name, None)
            for item in example.get("data", []):
                for name in _required_of_items(document, schema):
                    item.setdefault(name, None)
    return document


def _required_of_items(document: dict[str, Any], page: dict[str, Any]) -> list[str]:
    name = page["properties"]["data"]["items"]["$ref"].rpartition("/")[2]
    required: list[str] = document["components"]["schemas"][name].get("required", [])
    return required
