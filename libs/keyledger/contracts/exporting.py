"""The wire forms as files: JSON Schemas of what is published and a sample of every form ever written.

``schemas/`` is written from the code and checked against it; no running process reads it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from keyledger.contracts.alert import RECORD_TYPE as ALERT
from keyledger.contracts.alert import Alert
from keyledger.contracts.auth_event import RECORD_TYPE as AUTH
from keyledger.contracts.auth_event import AuthAttempt
from keyledger.contracts.freshness import HEAD_TYPE, REPORT_TYPE, Head, VerifierReport
from keyledger.contracts.registry import EVENT_TYPES, encode, published_struct
from keyledger.contracts.samples import SAMPLES

RECORDS: Final[dict[str, Any]] = {
    AUTH: list[AuthAttempt],
    ALERT: Alert,
    HEAD_TYPE: Head,
    REPORT_TYPE: VerifierReport,
}
"""What travels beside the facts, by CloudEvents type."""


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


def _schema(form: object) -> dict[str, Any]:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(form)}


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
