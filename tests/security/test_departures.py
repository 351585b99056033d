"""A caller that goes away in the middle of its own request is no failure of ours."""

from collections.abc import MutableMapping
from typing import Any

from fastapi import Request, Response

from keyledger.runtime.clock import SystemRandomness
from keyledger.web.app import create_app


async def test_who_hangs_up_in_the_middle_of_a_body_leaves_no_trace_of_an_error() -> None:
    app = create_app("under attack", randomness=SystemRandomness())
    answered: list[MutableMapping[str, Any]] = []

    @app.post("/")
    async def read(request: Request) -> Response:
        return Response(await request.body())

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        answered.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "query_string": b"", "headers": []}
    await app(scope, receive, send)  # it would raise what it takes for a failure, for the server to log with its trace
    assert answered[0]["status"] == 400
