"""One OpenAPI document for the one origin, merged from what each service says of its routes."""

from collections.abc import Iterable
from importlib.metadata import version
from typing import Any, Final

from keyledger.contracts.exporting import pretty
from keyledger.contracts.routes import ROUTES

_DESCRIPTION: Final = (
    "API keys that are verified next to the caller, revoked provably, and watched. "
    "Every write answers `Keyledger-Position`; a read with `Keyledger-At-Least: <that>` sees the write."
)
_SECURITY: Final = {"type": "http", "scheme": "bearer", "description": "A Keyledger API key: `kl_dev_...`"}


class DocumentsDisagree(Exception):
    """Two services describe the same name differently, or the routes are not those of the route table."""


def merged_openapi(documents: Iterable[dict[str, Any]]) -> bytes:
    """Return the merged document, its paths in the order of the route table.

    Raises:
        DocumentsDisagree: a defect in the code, found by a test.
    """
    schemas: dict[str, Any] = {}
    paths: dict[str, dict[str, Any]] = {}
    for document in documents:
        for name, schema in document.get("components", {}).get("schemas", {}).items():
            if schemas.setdefault(name, schema) != schema:
                raise DocumentsDisagree(f"two services have a schema {name} of their own")
        for path, operations in document["paths"].items():
            paths.setdefault(path, {}).update(operations)
    described = {(method.upper(), path) for path, operations in paths.items() for method in operations}
    if described != {(route.method, route.path) for route in ROUTES}:
        table = {(route.method, route.path) for route in ROUTES}
        raise DocumentsDisagree(f"not in both the route table and the documents: {sorted(described ^ table)}")
    merged = {
        "openapi": "3.1.0",
        "info": {"title": "Keyledger", "version": version("keyledger"), "description": _DESCRIPTION},
        "security": [{"apiKey": []}],
        "paths": {route.path: paths[route.path] for route in ROUTES},
        "components": {"schemas": dict(sorted(schemas.items())), "securitySchemes": {"apiKey": _SECURITY}},
    }
    return pretty(merged)
