"""What must hold of a read model at every moment."""

from typing import Any

from tests.simulation.read_models import ModelDatabase
from tests.simulation.system import System, Violation


def watch(system: System, database: ModelDatabase) -> None:
    """Judge each change of the read model as it is made."""
    projection = system.projections[database.name]
    before: dict[str, Any] = {"position": 0, "rows": {}, "waiting": set()}

    def changed() -> None:
        position, rows = database.kept.committed.position, database.kept.rows
        if position < before["position"]:
            raise Violation(f"{database.name} went back from {before['position']} to {position}")
        for stream, row in before["rows"].items():
            if stream not in rows or rows[stream].version < row.version:
                raise Violation(f"{database.name} lost what it had folded of {stream}")
        waiting = database.kept.marks
        for stream, entries in system.database.store.streams.items():
            applied = sum(entry.header.position <= position for entry in entries)
            found = rows[stream].version if stream in rows else 0
            applied = min(applied, waiting[stream].version - 1) if stream in waiting else applied
            if projection.wants(stream) and found < applied:
                raise Violation(
                    f"{database.name} says it is at {position}, but of {stream} it holds {found} of {applied} events"
                )
        system.world.happened["stream parked"] += len(waiting.keys() - before["waiting"])
        before["waiting"] = waiting.keys()
        before["position"], before["rows"] = position, rows

    database.changed.append(changed)
