"""The document says every route, and every answer that was seen."""

from typing import Any

import pytest

from keyledger.contracts.problems import PROBLEMS
from keyledger.contracts.routes import ROUTES
from keyledger.runtime.clock import SystemRandomness
from keyledger.testing.memory_ledger import MemoryLedger, MemoryStore
from keyledger_commands.api import create_api
from keyledger_commands.authentication import LedgerAuthentication
from keyledger_commands.streams import Streams
from tests.integration.commands.world import PEPPERS, SetClock


@pytest.fixture
async def document() -> Any:
    clock, randomness = SetClock(), SystemRandomness()
    ledger = MemoryLedger(MemoryStore(), clock=clock)
    try:
        streams = Streams(ledger, clock)
        authentication = LedgerAuthentication(
            streams, PEPPERS, clock=clock, randomness=randomness, record=lambda _: None, node="test"
        )
        app = create_api(ledger, streams, authentication, peppers=PEPPERS, clock=clock, randomness=randomness)
        return app.openapi()
    finally:
        await ledger.close()


def operations(document: Any) -> dict[tuple[str, str], Any]:
    return {
        (method.upper(), path): operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def test_it_holds_the_routes_of_the_table_and_no_other(document: Any) -> None:
    ours = {(route.method, route.path) for route in ROUTES if route.service == "commands"}
    assert set(operations(document)) == ours


def test_every_route_says_what_it_does_and_that_it_needs_a_key(document: Any) -> None:
    for operation in operations(document).values():
        assert operation["summary"]
        assert operation["description"]
        assert operation["operationId"]
        assert operation["security"] == [{"apiKey": []}]
    assert document["components"]["securitySchemes"]["apiKey"]["scheme"] == "bearer"


def test_every_refusal_is_a_problem_with_examples_of_its_codes(document: Any) -> None:
    for operation in operations(document).values():
        refusals = {status: answer for status, answer in operation["responses"].items() if int(status) >= 400}
        assert {"400", "401", "403", "422", "500", "503"} <= set(refusals)
        for status, answer in refusals.items():
            (media_type,) = answer["content"]
            assert media_type == "application/problem+json"
            assert answer["content"][media_type]["schema"] == {"$ref": "#/components/schemas/ProblemBody"}
            codes = answer["content"][media_type]["examples"]
            assert codes
            assert all(PROBLEMS[code].status == int(status) for code in codes)


def test_every_body_is_described_with_an_example(document: Any) -> None:
    for (method, path), operation in operations(document).items():
        assert ("requestBody" in operation) == (method in {"POST", "PATCH"}), (method, path)
        for content in operation.get("requestBody", {}).get("content", {}).values():
            assert content["examples"]
            assert content["schema"]["additionalProperties"] is False


def test_every_success_names_its_headers(document: Any) -> None:
    for (method, path), operation in operations(document).items():
        success = next(answer for status, answer in operation["responses"].items() if int(status) < 400)
        listed = (method, path) == ("GET", "/v1/roles")
        assert {"Link" if listed else "ETag", "Keyledger-Position"} <= set(success["headers"])
        assert ("content" in success) == (method != "DELETE")


def test_writes_take_an_idempotency_key_and_changes_a_version(document: Any) -> None:
    for (method, path), operation in operations(document).items():
        named = {parameter["name"] for parameter in operation.get("parameters", [])}
        assert ("Idempotency-Key" in named) == (method != "GET")
        assert ("If-Match" in named) == (method != "GET" and "{" in path)
        assert ("Keyledger-At-Least" in named) == (method == "GET")


def test_every_reference_leads_somewhere(document: Any) -> None:
    def references(node: Any) -> list[str]:
        if isinstance(node, dict):
            own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
            return own + [found for value in node.values() for found in references(value)]
        return [found for value in node for found in references(value)] if isinstance(node, list) else []

    for reference in references(document):
        place = document
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]
