"""The released contracts, kept as copies: a clone without history and without tags can still be judged by them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import yaml

from infra.contracts.document_rules import asyncapi_breaks, openapi_breaks, schema_breaks
from infra.local.templates import PROJECT

SCHEMAS: Final = PROJECT / "schemas"
RELEASED: Final = SCHEMAS / "released"
CONTRACTS: Final = ("events", "openapi", "asyncapi.yaml")


def breaks(old: Path, new: Path) -> Iterator[str]:
    """Yield a line for each way in which the contracts in ``new`` break who relies on those in ``old``.

    Raises:
        FileNotFoundError: a contract as a whole is gone.
    """
    for path in sorted((old / "events").glob("*.json")):
        if (new / "events" / path.name).exists():
            yield from schema_breaks(load(path), load(new / "events" / path.name), f"events/{path.stem}")
        else:
            yield f"events/{path.stem}: was removed, and records of this form are on the topic for ever"
    yield from asyncapi_breaks(load(old / "asyncapi.yaml"), load(new / "asyncapi.yaml"))
    yield from openapi_breaks(load(old / "openapi" / "openapi.json"), load(new / "openapi" / "openapi.json"))


def load(path: Path) -> Any:
    """Return a document of JSON, or of YAML."""
    return yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
