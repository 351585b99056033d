"""Lists in pages: where the next one is, and questions that are asked clearly."""

from typing import Any
from urllib.parse import urlencode

from fastapi import Request

from keyledger.web.problems import Problem


def refuse_repetition(request: Request) -> None:
    """Refuse a parameter that is sent twice: whichever of the two was meant, the other would be ignored."""
    names = [name for name, _ in request.query_params.multi_items()]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise Problem("invalid-request", "see errors", errors=[(f"query: {name}", "send it once") for name in repeated])


def next_link(request: Request, cursor: str) -> str:
    """Return the ``Link`` header (RFC 8288) of the page after this one: the same question, from the cursor on."""
    kept = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f'<{request.url.path}?{urlencode([*kept, ("cursor", cursor)])}>; rel="next"'


def next_link_header(path: str, example_cursor: str) -> dict[str, Any]:
    """Return what an OpenAPI document says of that header."""
    return {
        "Link": {
            "description": "Where the next page is; absent on the last one",
            "schema": {"type": "string"},
            "example": f'<{path}?cursor={example_cursor}>; rel="next"',
        },
    }
