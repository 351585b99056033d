"""A fold that dies at a named place leaves what a clean fold makes, once it goes on: rows, marks and checkpoint."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from keyledger.contracts.topics import ALERTS, LEDGER
from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.projections.port import ReadModel
from keyledger.projections.runner import ProjectionRunner
from keyledger.runtime.clock import SystemClock
from keyledger.verification.index import open_index
from keyledger.verification.projector import VerificationProjection
from keyledger_anomalies.alerts import alert_record
from keyledger_anomalies.projector import fill
from keyledger_directory.projector import KeyDirectory
from tests.integration.anomalies.alerts import alert, unreadable
from tests.integration.directory.projector_process import store_at
from tests.integration.projections.places import (
    INDEX_SIZE_MB,
    alerts_at,
    held,
    held_in_index,
)
from tests.unit.projections.written import Written, created, key_id, records, revoked, rotated, team, written

PLACES = ("projection.before_rows", "projection.before_commit", "projection.after_commit")
KEYS = 40
DEADLINE_SECONDS = 120


def lives() -> Written:
    """Return many keys' events; one key has an event that no fold takes, and others after it."""
    ledger = written(*(created(number) for number in range(KEYS)))
    ledger.add(team("misplaced"), stream=key_id(7), version=2)
    ledger.versions[key_id(7)] = 2
    for number in range(KEYS):
        ledger.add(rotated(number) if number % 2 else revoked(number))
    return ledger


@pytest.fixture
async def log(tmp_path: Path) -> AsyncIterator[EmbeddedLog]:
    log = await EmbeddedLog.open(tmp_path / "log.db")
    await log.ensure_topics([LEDGER, ALERTS])
    producer = await log.producer()
    sent = records(lives().entries)
    for start in range(0, len(sent), 7):
        await producer.send(LEDGER.name, 0, sent[start : start + 7])
    await producer.close()
    yield log
    await log.close()


async def killed(kind: str, log: Path, place: str, failpoint: str, *more: str) -> None:
    """Fold until the process dies at the failpoint."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.integration.projections.folding_process",
        kind,
        f"sqlite:///{log}",
        place,
        failpoint,
        *more,
    )
    try:
        assert await asyncio.wait_for(process.wait(), DEADLINE_SECONDS) == -signal.SIGKILL
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def to_the_end(projection: Any, model: ReadModel[Any], log: EmbeddedLog) -> None:
    async with asyncio.timeout(DEADLINE_SECONDS):
        await ProjectionRunner(projection, model, log, clock=SystemClock()).reach(len(lives().entries))


async def directory_of(url: str, log: EmbeddedLog) -> list[Any]:
    store = store_at(url)
    await store.prepare()
    await to_the_end(KeyDirectory(), store, log)
    found = await held(store)
    await store.close()
    return found


async def test_a_directory_that_is_killed_anywhere_in_a_batch_equals_a_clean_one(
    log: EmbeddedLog, tmp_path: Path
) -> None:
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    for number, place in enumerate(PLACES, start=1):
        await killed("directory", tmp_path / "log.db", url, f"{place}:kill@{number + 1}")
    clean = await directory_of(f"sqlite:///{tmp_path / 'clean.db'}", log)
    assert await directory_of(url, log) == clean
    assert list(clean[1]) == [key_id(7)]


async def test_a_checkpoint_committed_before_its_rows_would_lose_them(log: EmbeddedLog, tmp_path: Path) -> None:
    """The naive way, with the same kill: it is noticed."""
    url = f"sqlite:///{tmp_path / 'killed.db'}"
    await killed("directory", tmp_path / "log.db", url, "projection.before_rows:kill@2", "--naive")
    assert await directory_of(url, log) != await directory_of(f"sqlite:///{tmp_path / 'clean.db'}", log)


async def test_an_index_that_is_killed_anywhere_in_a_batch_equals_a_clean_one(log: EmbeddedLog, tmp_path: Path) -> None:
    for number, place in enumerate(PLACES, start=1):
        await killed("index", tmp_path / "log.db", str(tmp_path / "killed"), f"{place}:kill@{number + 1}")
    for folder in ("killed", "clean"):
        index = open_index(tmp_path / folder, generation=1, size_mb=INDEX_SIZE_MB)
        await to_the_end(VerificationProjection(), index, log)
        index.close()
    clean = await held_in_index(tmp_path / "clean")
    assert await held_in_index(tmp_path / "killed") == clean
    assert list(clean[1]) == [key_id(7)]


async def test_alerts_that_are_killed_anywhere_in_a_batch_equal_clean_ones(log: EmbeddedLog, tmp_path: Path) -> None:
    url, producer = f"sqlite:///{tmp_path / 'killed.db'}", await log.producer()
    for number, place in enumerate(PLACES):
        sent = [alert_record(alert(3 * number + n)) for n in range(2)]
        await producer.send(ALERTS.name, 0, [*sent, unreadable(3 * number + 2)])
        await killed("alerts", tmp_path / "log.db", url, f"{place}:kill")
    await producer.close()
    _, end = await log.bounds(ALERTS.name, 0)
    found = []
    for each in (url, f"sqlite:///{tmp_path / 'clean.db'}"):
        store = alerts_at(each)
        await store.prepare()
        await fill(log, store.current, end)
        rows, parked, checkpoint = await held(store)
        found.append([rows, {stream: mark.offset for stream, mark in parked.items()}, checkpoint])
        await store.close()
    assert found[0] == found[1]
    assert len(found[0][1]) == len(PLACES)
