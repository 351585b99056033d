"""Planted bugs: the real class with one thing wrong, to show that the schedules find it.

Most are the real module's source with one line exchanged, made into a module of its own: the product is not touched.
A line that is no longer there is an error that says so: the plant then has to follow the code.
"""

import asyncio
import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final

from msgspec import Struct

from keyledger.eventstore import writer
from keyledger.projections import order, runner
from keyledger.testing.memory_read_model import MemoryRows
from keyledger.verification import auth_events
from keyledger_anomalies import changelog, loop
from keyledger_relay import heads, relay
from tests.simulation.parts import Parts
from tests.simulation.read_models import SimulatedReadModel


class PlantDoesNotFit(Exception):
    """The code that a planted bug changes is not there any more."""


class Plant(Struct, frozen=True):
    """A bug, and what it is put into."""

    says: str
    parts: Callable[[], Parts]


def altered(module: ModuleType, *exchanges: tuple[str, str], **names: Any) -> Any:
    """Return a copy of the module in which texts are exchanged and other things stand under some names.

    Raises:
        PlantDoesNotFit: a text is not there exactly once.
    """
    source = inspect.getsource(module)
    for old, new in exchanges:
        if source.count(old) != 1:
            raise PlantDoesNotFit(f"{module.__name__} holds {source.count(old)} times: {old.strip()}")
        source = source.replace(old, new)
    copy = ModuleType(module.__name__)
    copy.__file__ = module.__file__
    exec(compile(source, f"planted {module.__name__}", "exec"), copy.__dict__)  # noqa: S102 - our own source
    # What is raised must stay what others catch.
    raised = {name: one for name, one in vars(module).items() if isinstance(one, type) and issubclass(one, BaseException)}
    copy.__dict__.update({**raised, **names})
    return copy


class CheckpointBeforeRows(SimulatedReadModel):
    """Keeps the checkpoint first, and the rows in a second transaction."""

    async def commit(self, rows: MemoryRows[Any]) -> None:
        def keep_checkpoint() -> None:
            self.database.kept.committed = rows.checkpoint

        def keep_rows() -> None:
            self.database.kept.rows = rows.rows
            self.database.tell()

        await self.write("commit", keep_checkpoint, rows.checkpoint.position)
        await asyncio.sleep(0)
        await self.write("commit", keep_rows, rows.checkpoint.position)


def _lost_wake_up() -> Parts:
    return Parts(
        writer=altered(
            writer,
            (
                """            batch = self._take()
            if batch:
                await self._settle(batch)
            else:
                self._wake.clear()
                if not self._closing:
                    await self._wake.wait()
""",
                """            await self._wake.wait()
            batch = self._take()
            if batch:
                await self._settle(batch)
            self._wake.clear()
""",
            ),
        ).GroupCommit
    )


def _missing_version_guard() -> Parts:
    return Parts(
        runner=altered(
            runner,
            ("        if header.version <= current.version:\n            continue\n", ""),
            ("        if header.version != current.version + 1:\n", "        if False:\n"),
        ).ProjectionRunner
    )


def _missing_position_check() -> Parts:
    chain = altered(
        order,
        ("        if position > self.position + 1:\n", "        if False:\n"),
        ("        if entry.prev_hash != self._hash:\n", "        if False:\n"),
    ).Chain
    without = ("        if header.version != current.version + 1:\n", "        if False:\n")
    return Parts(runner=altered(runner, without, Chain=chain).ProjectionRunner)


def _out_of_order_relay() -> Parts:
    return Parts(
        relay=altered(
            relay,
            (
                "        await producer.send(topic, 0, records)\n",
                "        halves = (records[: len(records) // 2], records[len(records) // 2 :])\n"
                "        await asyncio.gather(*(producer.send(topic, 0, half) for half in halves if half))\n",
            ),
        ).Relay
    )


def _relay_ahead_of_its_acknowledgement() -> Parts:
    return Parts(
        relay=altered(
            relay,
            (
                "            last = _continued(last, entries)\n            await self._send(producer, held, entries)\n",
                "            last = _continued(last, entries)\n"
                "            try:\n"
                "                await self._send(producer, held, entries)\n"
                "            except LogUnavailable:\n"
                "                continue\n",
            ),
        ).Relay
    )


def _alert_after_table_write() -> Parts:
    return Parts(
        detector=altered(
            loop,
            ("                if alerts:\n                    await self._publish(alerts)\n", ""),
            (
                "                offset = new\n",
                "                if alerts:\n                    await self._publish(alerts)\n                offset = new\n",
            ),
        ).DetectorLoop,
        lane=altered(
            changelog,
            ("            if alerts:\n                await self._until_acknowledged(partial(self._publish, alerts))\n", ""),
            (
                "            for done in written:\n                done()\n",
                "            for done in written:\n                done()\n"
                "            if alerts:\n"
                "                await self._until_acknowledged(partial(self._publish, alerts))\n",
            ),
        ).ChangelogLane,
    )


def _head_before_its_time() -> Parts:
    return Parts(
        heads=altered(
            heads,
            ("        at = self._clock.now()\n        head = await self._ledger.head()\n", "        head = await self._ledger.head()\n        at = self._clock.now()\n"),
        ).Heads
    )


def _uncertain_commit_told_as_failed() -> Parts:
    return Parts(
        writer=altered(
            writer,
            ("                deadline = deadline or self._clock.monotonic() + PATIENCE_SECONDS\n", "                return [LedgerUnavailable(why) for _ in appends]\n"),
        ).GroupCommit
    )


def _renumbered_resends() -> Parts:
    return Parts(
        sink=altered(
            auth_events,
            ("                failures += 1\n", "                failures += 1\n                records = [NewRecord(r.key, r.value, tuple((n, v + b'9' if n == 'ce_id' else v) for n, v in r.headers)) for r in records]\n"),
        ).AuthEventSink
    )


PLANTS: Final[dict[str, Plant]] = {
    "lost-wake-up": Plant("the writer forgets an append that came while it committed", _lost_wake_up),
    "checkpoint-before-row": Plant(
        "a read model keeps the checkpoint before the rows", lambda: Parts(read_model=CheckpointBeforeRows)
    ),
    "missing-version-guard": Plant("a fold takes an event that its row reflects already", _missing_version_guard),
    "missing-position-check": Plant("a reader takes whatever position comes", _missing_position_check),
    "out-of-order-relay": Plant("the relay sends two halves of a batch at once", _out_of_order_relay),
    "alert-after-table-write": Plant("a detector remembers before it has said", _alert_after_table_write),
    "relay-goes-on": Plant("the relay goes on after a send that failed", _relay_ahead_of_its_acknowledgement),
    "head-before-its-time": Plant("a head's time is read after its position", _head_before_its_time),
    "uncertain-is-failed": Plant("a commit in doubt is told as one that failed", _uncertain_commit_told_as_failed),
    "renumbered-resend": Plant("a record of attempts gets a new number when it is sent again", _renumbered_resends),
}
