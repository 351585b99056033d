"""The wire forms as files: JSON Schemas of what is published and a sample of every form ever written.

``schemas/`` is written from the code and checked against it; no running process reads it.
"""

from collections.abc import Mapping
from importlib.metadata import version
from inspect import cleandoc
from pathlib import Path
from typing import Any, Final

import msgspec

from keyledger.contracts.alert import RECORD_TYPE as ALERT
from keyledger.contracts.alert import Alert
from keyledger.contracts.asyncapi import asyncapi_document
from keyledger.contracts.auth_event import RECORD_TYPE as AUTH
from keyledger.contracts.auth_event import AuthAttempt
from keyledger.contracts.freshness import HEAD_TYPE, REPORT_TYPE, Head, VerifierReport
from keyledger.contracts.registry import EVENT_TYPES, Withheld, encode, published_struct
from keyledger.contracts.samples import SAMPLES

RECORDS: Final[dict[str, Any]] = {
    Withheld.__name__: Withheld,
    AUTH: list[AuthAttempt],
    ALERT: Alert,
    HEAD_TYPE: Head,
    REPORT_TYPE: VerifierReport,
}
"""What travels beside the facts, by CloudEvents type."""

ASYNCAPI: Final = Path("asyncapi.yaml")


def event_schemas() -> dict[Path, bytes]:
    """Return the path and text of each JSON Schema (draft 2020-12) of what a reader of the topics may meet."""
    forms = {(name, event.schema_version): published_struct(event.struct) for name, event in EVENT_TYPES.items()}
    forms |= {(name, 1): record for name, record in RECORDS.items()}
    return {
        Path("events") / f"{name}.v{version}.json": pretty(_schema(form)) for (name, version), form in forms.items()
    }


def event_samples() -> dict[Path, bytes]:
    """Return the path and bytes of a sample of each form that is written today, as the ledger keeps it."""
    encoded = map(encode, SAMPLES)
    return {Path("samples") / f"{event.type}.v{event.schema_version}.json": event.data + b"\n" for event in encoded}


def asyncapi(folder: Path) -> dict[Path, bytes]:
    """Return the AsyncAPI document, of the forms of today and of those that ``folder`` still has from before."""
    older = {path.relative_to(folder): path.read_bytes() for path in (folder / "events").glob("*.json")}
    document = asyncapi_document(older | event_schemas(), version("keyledger"))
    # Through JSON: what stands in two places is written twice, and not as a YAML alias.
    return {ASYNCAPI: msgspec.yaml.encode(msgspec.json.decode(msgspec.json.encode(document)))}


def _schema(form: object) -> dict[str, Any]:
    schema: dict[str, Any] = _undented(msgspec.json.schema(form))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _undented(schema: Any) -> Any:
    """Return the schema with its descriptions, which are docstrings, without the indentation of the code."""
    match schema:
        case dict():
            return {
                key: cleandoc(value) if key == "description" and isinstance(value, str) else _undented(value)
                for key, value in schema.items()
            }
        case list():
            return [_undented(item) for item in schema]
        case _:
            return schema


def pretty(document: object) -> bytes:
    """Return JSON as it stands in a file: two spaces, a final newline."""
    return msgspec.json.format(msgspec.json.encode(document), indent=2) + b"\n"


def differences(folder: Path, files: Mapping[Path, bytes]) -> list[Path]:
    """Return the files that are missing or other than the code says."""
    return [
        path for path, text in files.items() if not (folder / path).exists() or (folder / path).read_bytes() != text
    ]


def write(folder: Path, files: Mapping[Path, bytes], *, replace: bool) -> list[Path]:
    """Write what differs and return it. A sample is never replaced: a form that was written must stay readable.

    Raises:
        FileExistsError: a file that may not be replaced says something else.
    """
    changed = differences(folder, files)
    for path in changed:
        target = folder / path
        if target.exists() and not replace:
            raise FileExistsError(f"{path} shows a form that was written before: raise the schema_version instead")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(files[path])
    return changed
