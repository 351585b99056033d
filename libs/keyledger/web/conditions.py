"""``If-Match``: a change that is made only to the version that its author saw."""

import re
from typing import Annotated

from fastapi import Header

from keyledger.web.problems import Problem

IfMatch = Annotated[
    str | None,
    Header(alias="If-Match", description='The `ETag` you saw, such as `"3"`: 412 if it has changed since.'),
]


_ENTITY_TAGS = re.compile(r'\s*(W/)?"[^"]*"(\s*,\s*(W/)?"[^"]*")*\s*')


def etag(version: int) -> str:
    """Return the strong ETag of a version."""
    return f'"{version}"'


def check_if_match(if_match: str | None, version: int) -> None:
    """Refuse with 412 unless the header is absent, ``*`` or lists this version (RFC 9110, 13.1.1).

    Raises:
        Problem: ``precondition-failed``; ``malformed-request`` for what is no entity tag.
    """
    if if_match is None or if_match.strip() == "*":
        return
    if not _ENTITY_TAGS.fullmatch(if_match):
        raise Problem("malformed-request", 'If-Match: send the ETag as it was given, with its quotes, such as "3"')
    if etag(version) not in {part.strip() for part in if_match.split(",")}:
        raise Problem("precondition-failed", f"it is at version {etag(version)} now; read it again")
