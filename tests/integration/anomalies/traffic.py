"""Attempts as many nodes would send them, the same for the same seed."""

import random

from keyledger.contracts.auth_event import AuthAttempt, partition_of
from keyledger.contracts.verdict import Code
from keyledger.eventlog.port import Record
from tests.unit.detection.attempts import MINUTE, attempt, record

PARTITIONS = 4
FAILING = 0.25
LAST_SOURCE = "203.0.113."


def records_of(seed: int, *, per_partition: int, attempts_each: int) -> dict[int, list[Record]]:
    """Return records for each partition: one attempt in four fails, from sources that come back after quiet times.

    The last record of each holds a burst of its own: who has said its alert has read everything before.
    """
    chance = random.Random(seed)
    sources: dict[int, list[str]] = {partition: [] for partition in range(PARTITIONS)}
    for number in range(24):
        source = f"192.0.2.{number}"
        sources[partition_of(source, PARTITIONS)].append(source)
    return {
        partition: _records(chance, partition, sources[partition], per_partition, attempts_each)
        for partition in range(PARTITIONS)
    }


def _records(chance: random.Random, partition: int, sources: list[str], count: int, each: int) -> list[Record]:
    made, at, serial = list[Record](), 0, partition * 10_000_000
    for number in range(1, count + 1):
        attempts = list[AuthAttempt]()
        for _ in range(each):
            at += 20 * MINUTE if chance.random() < 0.001 else chance.randrange(MINUTE // 10)
            serial += 1
            code: Code = "invalid-credential" if chance.random() < FAILING else "valid"
            tenant = chance.choice([None, "org_a", "org_b"])
            attempts.append(attempt(serial, at, source=chance.choice(sources), code=code, organization_id=tenant))
        if number == count:
            last = f"{LAST_SOURCE}{partition}"
            attempts += [attempt(serial + n, at + n, source=last) for n in range(1, 6)]
        made.append(record(attempts, number=number, offset=number - 1, partition=partition))
    return made
