"""A fold of one read model as a process that dies at a named place: ``... KIND LOG_URL PLACE FAILPOINT [--naive]``.

``--naive`` commits the checkpoint before the rows, for showing that the test notices it.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from keyledger.contracts import failpoints
from keyledger.eventlog.opening import open_log
from keyledger.eventlog.port import EventLog
from keyledger.projections.runner import ProjectionRunner
from keyledger.runtime.clock import SystemClock
from keyledger.testing.read_model_suite import CheckpointFirst
from keyledger.verification.index import open_index
from keyledger.verification.projector import VerificationProjection
from keyledger_anomalies.projector import AlertProjector
from keyledger_directory.projector import KeyDirectory
from tests.integration.directory.projector_process import store_at
from tests.integration.projections.places import INDEX_SIZE_MB, alerts_at

BATCH = 10
"""Small, so that there are batches before and after the one that dies."""


async def fold(kind: str, log: EventLog, place: str, *, naive: bool) -> None:
    match kind:
        case "directory":
            store = store_at(place)
            await store.prepare()
            model: Any = CheckpointFirst(store) if naive else store
            await ProjectionRunner(KeyDirectory(), model, log, clock=SystemClock(), max_batch=BATCH).run()
        case "index":
            index = open_index(Path(place), generation=1, size_mb=INDEX_SIZE_MB)
            await ProjectionRunner(VerificationProjection(), index, log, clock=SystemClock(), max_batch=BATCH).run()
        case "alerts":
            await AlertProjector(log, alerts_at(place), clock=SystemClock()).run()
        case _:
            raise ValueError(kind)


async def main(kind: str, log_url: str, place: str, failpoint: str, *, naive: bool) -> None:
    log = await open_log(log_url)
    failpoints.arm(failpoint)
    await fold(kind, log, place, naive=naive)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:5], naive="--naive" in sys.argv))
