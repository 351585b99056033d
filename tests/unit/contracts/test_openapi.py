"""The stored OpenAPI document is that of the code, and describes the route table whole."""

import json
from pathlib import Path
from typing import Any

import pytest

from keyledger.contracts.exporting import differences
from keyledger.contracts.routes import ROUTES
from keyledger_standalone.documents import DocumentsDisagree, merged_openapi
from keyledger_standalone.schemas import openapi_document

SCHEMAS = Path(__file__).parents[3] / "schemas"


async def test_the_stored_openapi_document_is_that_of_the_code() -> None:
    assert differences(SCHEMAS, await openapi_document()) == [], "run `make schemas` and commit what it writes"


async def test_every_operation_has_an_example_and_says_how_it_refuses() -> None:
    (text,) = (await openapi_document()).values()
    document: dict[str, Any] = json.loads(text)
    for route in ROUTES:
        operation = document["paths"][route.path][route.method.lower()]
        assert any(status.startswith("4") for status in operation["responses"]), route
        assert operation["security"] == [{"apiKey": []}], route
        good = next(answer for status, answer in operation["responses"].items() if status.startswith("2"))
        if route.method != "DELETE":
            body = good["content"]["application/json"]
            schema = document["components"]["schemas"][body["schema"]["$ref"].rpartition("/")[2]]
            assert {"example", "examples"} & (body.keys() | schema.keys()), route


def test_services_that_describe_one_name_differently_are_refused() -> None:
    one, other = ({"paths": {}, "components": {"schemas": {"Key": {"type": kind}}}} for kind in ("object", "string"))
    with pytest.raises(DocumentsDisagree, match="Key"):
        merged_openapi([one, other])


def test_a_route_that_nobody_describes_is_refused() -> None:
    with pytest.raises(DocumentsDisagree, match="/v1/api-keys"):
        merged_openapi([{"paths": {}}])
