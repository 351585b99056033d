"""The credential and the tracing context of a request."""

from fastapi import Request

from keyledger.web.problems import Problem


def bearer_token(request: Request) -> str | None:
    """Return the Bearer token of a request; None where none was sent.

    Raises:
        Problem: ``ambiguous-credential`` for two different ones.
    """
    sent = set(request.headers.getlist("authorization"))
    if len(sent) > 1:
        raise Problem("ambiguous-credential", "send one Authorization header")
    scheme, _, token = next(iter(sent), "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None
