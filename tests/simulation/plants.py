"""Planted bugs: the real class with one thing wrong, to show that the schedules find it."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from msgspec import Struct

from keyledger.eventstore import writer
from keyledger.projections import committed, folding, order, runner
from keyledger.testing.memory_read_model import MemoryRows
from keyledger.verification import auth_events, freshness, node
from keyledger_anomalies import changelog, loop
from keyledger_relay import heads, relay
from tests.simulation.altering import Exchange, altered
from tests.simulation.parts import Parts
from tests.simulation.read_models import SimulatedReadModel


class Plant(Struct, frozen=True):
    """A bug, and what it is put into."""

    says: str
    parts: Callable[[], Parts]


def _lost_wake_up() -> Parts:
    was = """
        batch = self._take()
        if batch:
            await self._settle(batch)
        else:
            self._wake.clear()
            if not self._closing:
                await self._wake.wait()
    """
    planted = """
        await self._wake.wait()
        batch = self._take()
        if batch:
            await self._settle(batch)
        self._wake.clear()
    """
    return Parts(writer=altered(writer, Exchange(was, planted, 12)).GroupCommit)


class _CheckpointBeforeRow(SimulatedReadModel):
    async def commit(self, rows: MemoryRows[Any]) -> None:
        """Keep the checkpoint first, and the rows in a second transaction."""

        def keep_checkpoint() -> None:
            self.database.kept.committed, self.database.kept.marks = rows.checkpoint, rows.marks

        def keep_rows() -> None:
            self.database.kept.rows = rows.rows
            self.database.tell()

        await self.write("commit", keep_checkpoint, rows.checkpoint.position)
        await asyncio.sleep(0)
        await self.write("commit", keep_rows, rows.checkpoint.position)


def _missing_version_guard() -> Parts:
    guard = """
        if version <= current.version:
            continue
    """
    gap = Exchange("elif version != current.version + 1:", "elif False:", 8)  # else it would notice in its stead
    unguarded = altered(folding, Exchange(guard, "", 8), gap)
    kept = altered(committed, fold=unguarded.fold)
    return Parts(runner=altered(runner, Committed=kept.Committed).ProjectionRunner)


def _missing_position_check() -> Parts:
    unchecked = altered(
        order,
        Exchange("if position > self.position + 1:", "if False:", 8),
        Exchange("if entry.prev_hash != self._hash:", "if False:", 8),
    )
    again = Exchange("if steps[0].header.position != self.position + 1:", "if False:", 12)
    kept = altered(committed, again)
    return Parts(runner=altered(runner, Chain=unchecked.Chain, Committed=kept.Committed).ProjectionRunner)


def _out_of_order_relay() -> Parts:
    planted = """
        last_offset = -1
        for half in (records[len(records) // 2 :], records[: len(records) // 2]):
            if half:
                last_offset = await outlet.producer.send(topic, 0, half)
    """
    was = "last_offset = await outlet.producer.send(topic, 0, records)"
    return Parts(relay=altered(relay, Exchange(was, planted, 8)).Relay)


def _relay_goes_on() -> Parts:
    was = """
        if sending is not None:
            await sending
            sending = None
    """
    planted = """
        if sending is not None:
            with contextlib.suppress(LogUnavailable):
                await sending
            sending = None
    """
    return Parts(relay=altered(relay, Exchange(was, planted, 16)).Relay)


def _alert_after_table_write() -> Parts:
    say = "await self._publish(alerts)"
    after = f"offset = new\nif alerts:\n    {say}"
    plain = altered(loop, Exchange(say, "pass", 20), Exchange("offset = new", after, 16))
    say = "await self._until_acknowledged(partial(self._publish, alerts))"
    done = "self.written = folded"
    after = f"{done}\nif alerts:\n    {say}"
    lane = altered(changelog, Exchange(say, "pass", 16), Exchange(done, after, 12))
    return Parts(detector=plain.DetectorLoop, lane=lane.ChangelogLane)


def _head_before_its_time() -> Parts:
    was = """
        at = self._clock.now()
        head = await self._ledger.head()
    """
    planted = """
        head = await self._ledger.head()
        at = self._clock.now()
    """
    return Parts(heads=altered(heads, Exchange(was, planted, 8)).Heads)


def _fresh_by_arrival() -> Parts:
    believing = altered(freshness, Exchange("self.fresh_as_of = head.at", "self.fresh_as_of = self._clock.now()", 12))
    return Parts(node=altered(node, Freshness=believing.Freshness).VerifierNode)


def _uncertain_is_failed() -> Parts:
    was = "deadline = deadline or self._clock.monotonic() + PATIENCE_SECONDS"
    planted = "return [LedgerUnavailable(why) for _ in appends]"
    return Parts(writer=altered(writer, Exchange(was, planted, 16)).GroupCommit)


def _numbered_at_each_try() -> Parts:
    planted = """
        failures += 1
        name, number = dict(records[0].headers)["ce_id"].decode().rsplit(".", 1)
        again = f"{name}.{int(number) + 1}".encode()
        records = [
            NewRecord(one.key, one.value, tuple((n, again if n == "ce_id" else v) for n, v in one.headers))
            for one in records
        ]
    """
    return Parts(sink=altered(auth_events, Exchange("failures += 1", planted, 16)).AuthEventSink)


PLANTS: Final[dict[str, Plant]] = {
    "lost-wake-up": Plant("the writer forgets an append that came while it committed", _lost_wake_up),
    "checkpoint-before-row": Plant(
        "a read model keeps the checkpoint before the rows", lambda: Parts(read_model=_CheckpointBeforeRow)
    ),
    "missing-version-guard": Plant("a fold takes an event that its row reflects already", _missing_version_guard),
    "missing-position-check": Plant("a reader takes whatever position comes", _missing_position_check),
    "out-of-order-relay": Plant("the relay sends the second half of a batch first", _out_of_order_relay),
    "relay-goes-on": Plant("the relay goes on after a send that failed", _relay_goes_on),
    "alert-after-table-write": Plant("a detector remembers before it has said", _alert_after_table_write),
    "head-before-its-time": Plant("a head's time is read after its position", _head_before_its_time),
    "fresh-by-arrival": Plant("a node takes a head for as young as its arrival", _fresh_by_arrival),
    "uncertain-is-failed": Plant("a commit in doubt is told as one that failed", _uncertain_is_failed),
    "numbered-at-each-try": Plant("a record of attempts gets a new number with each try", _numbered_at_each_try),
}
