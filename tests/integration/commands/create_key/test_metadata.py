"""``metadata`` of a new key: what is kept as it came, and what is refused (422)."""

import json
from typing import Any

import pytest

from keyledger.domain.metadata import MAX_BYTES, MAX_NAMES
from keyledger_commands.bodies import MAX_METADATA_DEPTH, MAX_NUMBER
from tests.integration.commands.world import World, pointers

TOO_LARGE = str(MAX_NUMBER + 1)


def nested(depth: int) -> str:
    return '{"a":' * depth + "1" + "}" * depth


async def create(world: World, metadata: str) -> Any:
    body = f'{{"name": "x", "metadata": {metadata}}}'
    return await world.send("POST", "/v1/api-keys", content=body, headers={"Content-Type": "application/json"})


@pytest.mark.parametrize(
    "metadata",
    [
        "{}",
        nested(MAX_METADATA_DEPTH),
        json.dumps({str(number): number for number in range(MAX_NAMES)}),
        json.dumps({"text": "x" * (MAX_BYTES - 11)}),
        f'{{"largest": {MAX_NUMBER}, "smallest": {-MAX_NUMBER}, "real": -1.5e-7, "true": true}}',
        '{"": "", "list": [1, "two", [null]], "ü": "✓"}',
    ],
)
async def test_what_fits_is_kept_as_it_came(world: World, metadata: str) -> None:
    answered = await create(world, metadata)
    assert answered.status_code == 201, answered.text
    assert answered.json()["metadata"] == json.loads(metadata)


@pytest.mark.parametrize(
    "metadata",
    [
        "null",
        "[]",
        '"x"',
        nested(MAX_METADATA_DEPTH + 1),
        '{"a": ' + "[" * MAX_METADATA_DEPTH + "]" * MAX_METADATA_DEPTH + "}",
        json.dumps({str(number): number for number in range(MAX_NAMES + 1)}),
        json.dumps({"list": [{"a": 1, "b": 2}] * (MAX_NAMES // 2)}),
        json.dumps({"text": "x" * (MAX_BYTES - 10)}),
        f'{{"a": {TOO_LARGE}}}',
        f'{{"a": [-{TOO_LARGE}]}}',
        '{"a": 1e999}',
        '{"a": "\\u0000"}',
        '{"a\\n": 1}',
        '{"a": ["\\ud800"]}',
        '{"\\udfff": 1}',
    ],
)
async def test_422_for_what_does_not_fit(world: World, metadata: str) -> None:
    assert pointers(await create(world, metadata)) == ["#/metadata"]


@pytest.mark.parametrize("form", ['{{"a": "{}"}}', '{{"{}": 1}}', '{{"a": [{{"b": "see {}!"}}]}}'])
async def test_422_for_a_token_wherever_it_stands_and_it_is_not_repeated(world: World, form: str) -> None:
    token = (await world.created())["key"]
    written = (await world.ledger.head()).position
    answered = await create(world, form.format(token))
    assert pointers(answered) == ["#/metadata"]
    assert token not in answered.text
    assert (await world.ledger.head()).position == written
