"""``python -m keyledger_standalone.schemas FOLDER``: write ``schemas/`` from the code."""

import asyncio
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from keyledger.contracts.exporting import asyncapi, event_samples, event_schemas, write
from keyledger.runtime.process import Process
from keyledger.runtime.settings import Settings
from keyledger.testing.memory_ledger import MemoryLedger, MemoryStore
from keyledger.testing.memory_log import MemoryLog
from keyledger.verification.peppers import MASTER_BYTES, Peppers
from keyledger_standalone.build import build


async def openapi_document() -> dict[Path, bytes]:
    """Return the path and text of the merged OpenAPI document, from services that run on nothing."""
    with TemporaryDirectory() as folder:
        process = Process(Settings(data_dir=Path(folder)))
        peppers, event_log = Peppers([bytes(MASTER_BYTES)]), MemoryLog()
        ledger = MemoryLedger(MemoryStore(), clock=process.clock)
        async with process.verifier_node(event_log, peppers) as node:
            service = build(process, ledger, event_log, node, peppers=peppers)
            await service.close()
        await ledger.close()
    return {Path("openapi") / "openapi.json": service.openapi}


def main() -> int:
    """Write what differs and name it; exit code 1 where a form that was written before would change."""
    folder = Path(sys.argv[1])
    documents = event_schemas() | asyncapi(folder) | asyncio.run(openapi_document())
    try:
        written = write(folder, documents, replace=True) + write(folder, event_samples(), replace=False)
    except FileExistsError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.writelines(f"wrote {folder / path}\n" for path in written)
    return 0


if __name__ == "__main__":
    sys.exit(main())
