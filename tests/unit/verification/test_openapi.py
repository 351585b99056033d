import json

import msgspec

from keyledger.contracts.problems import PROBLEMS
from keyledger.contracts.routes import find
from keyledger.contracts.verdict import HTTP_STATUS
from keyledger.verification.answers import DETAILS, VerifiedKey
from keyledger.verification.openapi import document


def test_the_document_describes_the_routes_of_the_table() -> None:
    described = {(method.upper(), path) for path, methods in document()["paths"].items() for method in methods}
    assert described == {("GET", "/v1/auth/verify")}
    assert find("GET", "/v1/auth/verify")[0] is not None


def test_the_example_is_a_body_that_is_answered() -> None:
    answered = document()["paths"]["/v1/auth/verify"]["get"]["responses"]["200"]
    example = answered["content"]["application/json"]["example"]
    again = msgspec.to_builtins(msgspec.convert(example, VerifiedKey))
    assert json.loads(json.dumps(again)) == example


def test_every_refusal_is_described_with_an_example_under_its_status() -> None:
    responses = document()["paths"]["/v1/auth/verify"]["get"]["responses"]
    described = {
        code: int(status)
        for status, response in responses.items()
        for content in response["content"].values()
        for code in content.get("examples", ())
    }
    assert described == {code: PROBLEMS[code].status for code in described}
    assert set(DETAILS) - {"not-found", "method-not-allowed"} == set(described)
    assert {code for code in HTTP_STATUS if code != "valid"} <= set(described)
