"""``POST /v1/api-keys``: bodies that are not even looked into."""

import pytest

from tests.integration.commands.world import World, problem_of

JSON = {"Content-Type": "application/json"}
NO_JSON = [
    b"",
    b"{",
    b"{'name': 'x'}",
    b'{"name": "x"} {}',
    b'{"name": NaN}',
    b'{"name": "a\nb"}',
    b'{"name": "x", "name": "y"}',
    b'{"name": "\xff"}',
    b'\xef\xbb\xbf{"name": "x"}',
    b"[" * 100_000,
    b'{"name": ' + b"9" * 5_000 + b"}",
]


@pytest.mark.parametrize("raw", NO_JSON, ids=range(len(NO_JSON)))
async def test_400_what_is_no_json(world: World, raw: bytes) -> None:
    answered = await world.send("POST", "/v1/api-keys", content=raw, headers=JSON)
    assert problem_of(answered, 400) == "malformed-request"


async def test_413_what_is_too_long(world: World) -> None:
    answered = await world.send("POST", "/v1/api-keys", content=b'"' + b"x" * 300_000 + b'"', headers=JSON)
    assert problem_of(answered, 413) == "request-too-large"


@pytest.mark.parametrize(
    "content_type", ["text/plain", "application/x-www-form-urlencoded", "application/merge-patch+json", "json", ""]
)
async def test_415_what_is_of_another_type(world: World, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answered = await world.send("POST", "/v1/api-keys", content=b'{"name": "x"}', headers=headers)
    assert problem_of(answered, 415) == "unsupported-media-type"


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_201_json_by_its_other_names(world: World, content_type: str) -> None:
    headers = {"Content-Type": content_type}
    answered = await world.send("POST", "/v1/api-keys", content=b'{"name": "x"}', headers=headers)
    assert answered.status_code == 201


async def test_405_names_what_the_path_allows(world: World) -> None:
    answered = await world.send("PUT", "/v1/api-keys", json={})
    assert problem_of(answered, 405) == "method-not-allowed"
    assert answered.headers["allow"] == "GET, HEAD, POST"


async def test_401_comes_before_everything_else_that_is_wrong(world: World) -> None:
    answered = await world.send("POST", "/v1/api-keys", key="", content=b"{", headers={"Idempotency-Key": "a b"})
    assert problem_of(answered, 401) == "missing-credential"
