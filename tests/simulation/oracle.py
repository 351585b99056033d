"""What must hold at the end of every schedule."""

from collections import Counter
from itertools import groupby
from typing import Any

from keyledger.contracts.alert import decode_alert
from keyledger.contracts.auth_event import decode_attempts
from keyledger.contracts.cloudevents import read_private
from keyledger.contracts.envelope import FIRST_PREV_HASH, chain_hash, encode_header
from keyledger.contracts.freshness import decode_head
from keyledger.contracts.registry import decode
from keyledger.contracts.topics import ALERTS, AUTH, AUTH_BY_SOURCE, EVENTS, HEADS, LEDGER
from keyledger.detection.failed_burst import RULE
from keyledger.domain import keys
from keyledger.domain.times import moment
from keyledger.eventlog.port import Record
from keyledger.projections.port import Projection, Versioned
from tests.simulation.attempts import Attempts
from tests.simulation.callers import Callers, Order
from tests.simulation.history import key_of
from tests.simulation.system import System, Violation
from tests.unit.detection.attempts import fold
from tests.unit.relay.kit import positions


def lagging(system: System, callers: Callers) -> list[str]:
    """Return what is not yet where it has to be; empty once everything is."""
    behind = [f"order {number} has no answer" for number in callers.waiting]
    behind += [f"{name} does not run" for name in system.slots if name not in system.running]
    head = system.database.store.head.position
    if "relay" in system.slots:
        behind += _lagging_relay(system, head)
    for name, model in system.models.items():
        if model.kept.committed.position != head:
            behind.append(f"{name} is at {model.kept.committed.position} of {head}")
        behind += [f"{name} has parked {mark.stream}: {mark.reason}" for mark in model.kept.marks.values()]
    if "node" in system.slots:
        behind += _lagging_node(system, head)
    for name in system.slots:
        if name.startswith("edge") and name in system.running and system.running[name].waiting:
            behind.append(f"{name} has {system.running[name].waiting} attempts left")
    if "detector" in system.slots:
        behind += _lagging_detector(system)
    return behind


def _lagging_relay(system: System, head: int) -> list[str]:
    # All of it, not its end alone: what a replaced relay did to a topic, the one that goes on finds seconds later.
    found = {topic: _disorder(system.broker.records[topic, 0], head) for topic in (LEDGER.name, EVENTS.name)}
    behind = [f"{topic}: {why}" for topic, why in found.items() if why]
    mark = system.database.store.checkpoints.get("relay", 0)
    return behind if mark == head else [*behind, f"the relay's mark is at {mark} of {head}"]


def _lagging_node(system: System, head: int) -> list[str]:
    node = system.running.get("node")
    if node is None:
        return []
    if node.freshness.is_stale(system.clock("node").now()) or node.freshness.position != head:
        return [f"the node is at {node.freshness.position} of {head}, fresh as of {node.freshness.fresh_as_of}"]
    return [f"the node has {node.sink.waiting} attempts left"] if node.sink.waiting else []


def _lagging_detector(system: System) -> list[str]:
    read = system.detector.offsets or system.committed_offsets
    ends = {number: system.broker.end((AUTH_BY_SOURCE.name, number)) for number in range(AUTH_BY_SOURCE.partitions)}
    return [
        f"partition {number} is read to {read.get(number, 0)} of {end}"
        for number, end in ends.items()
        if read.get(number, 0) != end
    ]


def judge(system: System, callers: Callers, attempts: Attempts) -> None:
    """Raise Violation for the first thing that is not as it must be."""
    _chain_holds(system)
    _orders_are_written_once(system, callers.orders)
    _guards_held(system, callers.orders)
    if "relay" in system.slots:
        _topics_hold_everything_in_order(system)
        _heads_are_true(system)
    for name, model in system.models.items():
        _rebuilt_equals(system, name, model.kept.rows)
    _verdicts_are_those_of_their_position(system, attempts)
    _attempts_are_on_both_topics(system)
    if "detector" in system.slots:
        _alerts_equal_a_clean_pass(system)


def _must(holds: object, why: str) -> None:
    if not holds:
        raise Violation(why)


def _chain_holds(system: System) -> None:
    before, versions, at = FIRST_PREV_HASH, Counter[str](), 0
    for number, entry in enumerate(system.database.store.entries, 1):
        header = entry.header
        versions[header.stream] += 1
        _must(header.position == number, f"position {header.position} stands at {number}")
        _must(entry.prev_hash == before, f"position {number} does not follow")
        _must(
            chain_hash(before, encode_header(header), entry.data) == entry.hash, f"position {number} has a wrong hash"
        )
        _must(header.version == versions[header.stream], f"position {number} has version {header.version}")
        _must(header.recorded_at >= at, f"position {number} was recorded before the one before it")
        before, at = entry.hash, header.recorded_at


def _orders_are_written_once(system: System, orders: list[Order]) -> None:
    """An acknowledged command is there once and where it was said to be; an unknown one once or never; a refused never.

    And one that was sent after another one was answered stands behind it.
    """
    written: dict[str, list[int]] = {}
    for entry in system.database.store.entries:
        written.setdefault(entry.header.append_id, []).append(entry.header.position)
    for order in orders:
        positions = [p for append in order.appends for p in written.get(append.append_id, ())]
        said = f"order {order.number} ({order.kind}) is {order.outcome}"
        _must(not order.refused & written.keys(), f"{said}, but an append that was refused was written")
        match order.outcome:
            case "acknowledged":
                _must(positions == [order.position], f"{said} at {order.position}, written at {positions}")
            case "unknown":
                _must(len(positions) <= 1, f"{said}, written at {positions}")
            case _:
                _must(not positions, f"{said}, written at {positions}")
    done = sorted((order for order in orders if order.outcome == "acknowledged"), key=lambda order: order.ended)
    for later in done:
        for earlier in done:
            if earlier.ended >= later.began:
                break
            _must(earlier.position < later.position, f"order {later.number} was sent after {earlier.number}'s answer")


def _guards_held(system: System, orders: list[Order]) -> None:
    appends = {append.append_id: append for order in orders for append in order.appends}
    versions = Counter[str]()
    for entry in system.database.store.entries:
        append = appends.get(entry.header.append_id)
        for stream, expected in (append.guards if append else {}).items():
            _must(versions[stream] == expected, f"position {entry.header.position} was written against its guard")
        versions[entry.header.stream] += 1


def _topics_hold_everything_in_order(system: System) -> None:
    entries = system.database.store.entries
    for topic in (LEDGER.name, EVENTS.name):
        records = system.broker.records[topic, 0]
        why = _disorder(records, len(entries))
        _must(not why, f"{topic}: {why}")
        for record in records if topic == LEDGER.name else ():
            _, entry = read_private(record.headers, record.value)
            _must(entry == entries[entry.header.position - 1], f"{topic} does not hold the ledger's row")


def _disorder(records: list[Record], head: int) -> str:
    """Say what keeps these records from being 1 to ``head`` in order, with resends only; nothing if nothing does."""
    last = 0
    for position in positions(records):
        if position > last + 1:
            return f"{position} follows {last}"
        last = max(last, position)
    return "" if last == head else f"it ends at {last} of {head}"


def _heads_are_true(system: System) -> None:
    """A head says what the ledger held when the clock said its time, or something newer; never more than there was."""
    said = system.clock("relay").said
    for record in system.broker.records[HEADS.name, 0]:
        head = decode_head(record.value or b"")
        held = system.database.height_at(said[head.at])
        _must(head.position >= held, f"a head says {head.position} at a time when {held} was committed")
        _must(head.position <= len(system.database.store.entries), f"a head says {head.position}, which never was")


def rebuilt(system: System, projection: Projection[Any]) -> dict[str, Versioned[Any]]:
    """Return the rows that a fold of the whole ledger makes, one event after the other."""
    rows: dict[str, Versioned[Any]] = {}
    for entry in system.database.store.entries:
        stream = entry.header.stream
        fact = decode(entry)
        if projection.wants(stream) and fact is not None:
            before = rows.get(stream, Versioned(0, None))
            rows[stream] = Versioned(entry.header.version, projection.project(before.row, fact))
    return rows


def _rebuilt_equals(system: System, name: str, rows: dict[str, Versioned[Any]]) -> None:
    clean = rebuilt(system, system.projections[name])
    if rows != clean:
        different = [stream for stream in sorted(clean.keys() | rows.keys()) if clean.get(stream) != rows.get(stream)]
        raise Violation(f"{name} is not what a rebuild gives, in {different}")


def _verdicts_are_those_of_their_position(system: System, attempts: Attempts) -> None:
    for issued, ask, verdict in attempts.answers:
        rows = [
            e for e in system.database.store.streams.get(issued.key_id, ()) if e.header.position <= verdict.position
        ]
        key = key_of(rows)
        last = key.last if isinstance(key, keys.Revoked) else key
        live = isinstance(last, keys.Active) and issued.secret_id in [
            one.secret.id for one in last.secrets if one.works_at(moment(ask.now))
        ]
        if verdict.code == "invalid-credential":
            continue  # it says no position: judged by what it does not let in
        expected = "disabled" if isinstance(key, keys.Active) and key.disabled else "valid"
        expected = "revoked" if isinstance(key, keys.Revoked) else expected
        _must(
            live and verdict.code == expected,
            f"{issued.key_id} was {verdict.code} at {verdict.position}, the ledger says {expected if live else 'no'}",
        )


def _attempts_are_on_both_topics(system: System) -> None:
    """What a living sink sent is on each topic once, but for resent records, and the same on both."""
    for name in ("node", *[slot for slot in system.slots if slot.startswith("edge")]):
        running = system.running.get(name)
        sink = getattr(running, "sink", running)
        if sink is None:
            continue
        by_key, by_source = (
            _attempt_ids(system, topic, system.boots[name]) for topic in (AUTH.name, AUTH_BY_SOURCE.name)
        )
        _must(by_key == by_source, f"{name}: {sorted(by_key ^ by_source)} are on one topic alone")
        _must(len(by_key) * 2 == sink.acknowledged, f"{name}: {sink.acknowledged} acknowledged, {len(by_key)} there")


def _attempt_ids(system: System, topic: str, boot: str) -> set[str]:
    ids: list[str] = []
    for partition in range(AUTH.partitions):
        records = {
            name: record
            for record in system.broker.records[topic, partition]
            if f".{boot}." in (name := dict(record.headers)["ce_id"].decode())
        }
        numbers = sorted(int(name.rpartition(".")[2]) for name in records)
        _must(numbers == list(range(1, len(numbers) + 1)), f"{topic}/{partition}: records {numbers} of {boot}")
        ids += [attempt.id for record in records.values() for attempt in decode_attempts(record.value or b"")]
    _must(len(ids) == len(set(ids)), f"{topic} holds an attempt of {boot} in two records")
    return set(ids)


def _alerts_equal_a_clean_pass(system: System) -> None:
    folded = (
        fold(system.broker.records[AUTH_BY_SOURCE.name, partition])[0] for partition in range(AUTH_BY_SOURCE.partitions)
    )
    clean = {alert.id: alert for alerts in folded for alert in alerts}
    told = [decode_alert(record.value or b"") for record in system.broker.records[ALERTS.name, 0]]
    said = [alert for alert in told if alert.rule == RULE]
    for alert_id, same in groupby(sorted(said, key=lambda alert: alert.id), key=lambda alert: alert.id):
        _must(all(alert == clean.get(alert_id) for alert in same), f"{alert_id} is not what a clean pass says")
    missing = clean.keys() - {alert.id for alert in said}
    _must(not missing, f"alerts were never said: {sorted(missing)}")
    system.world.happened["alerts"] += len(clean)
