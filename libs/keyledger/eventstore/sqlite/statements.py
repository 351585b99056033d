"""The SQL. Run one by one: there is no round trip to save."""

from typing import Final

from keyledger.eventstore.rows import COLUMNS, HEADER_FIELDS, SELECT

_HEADER: Final = ", ".join(
    f"json(iif({field}, 'true', 'false'))" if field == "may_ignore" else field for field in HEADER_FIELDS
)

HEAD: Final = "SELECT position, hash, recorded_at FROM ledger_head"
TAIL: Final = "SELECT version, position, recorded_at FROM events WHERE stream = ? ORDER BY version DESC LIMIT 1"
CLAIM: Final = "SELECT * FROM idempotency WHERE scope = ?"
WRITTEN: Final = """
    SELECT last.position, last.version, last.recorded_at FROM events AS first JOIN events AS last
        ON first.stream = ?2 AND first.version = ?3 AND first.append_id = ?1 AND last.stream = ?2 AND last.version = ?4
"""

INSERT_EVENT: Final = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
MOVE_HEAD: Final = "UPDATE ledger_head SET position = ?1, hash = ?2, recorded_at = ?3 WHERE position < ?1"
KEEP_CLAIM: Final = "INSERT OR REPLACE INTO idempotency VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
SWEEP_CLAIMS: Final = """
    DELETE FROM idempotency
     WHERE scope IN (SELECT scope FROM idempotency WHERE claimed_at <= ? ORDER BY claimed_at LIMIT ?)
"""
"""Old claims go in passing, two for each new one: so the table stays bounded, without another task."""
KEEP_PROFILE: Final = "INSERT OR REPLACE INTO profiles VALUES (?, ?, ?)"
INSERT_ADDRESS: Final = "INSERT INTO event_addresses VALUES (?, ?, ?)"

JOINS_EVERY_BYTE: Final = "SELECT CAST(group_concat(x'0001', '') AS BLOB) = x'0001'"
"""Older versions end what ``PAGE`` joins at its first zero byte."""

MOVE_CHECKPOINT: Final = """
    INSERT INTO checkpoints (name, position) SELECT ?1, ?3 WHERE ?2 = 0 OR EXISTS (
        SELECT 1 FROM checkpoints WHERE name = ?1)
    ON CONFLICT (name) DO UPDATE SET position = ?3 WHERE position = ?2
"""

PROFILES: Final = "SELECT user_id, name, email FROM profiles WHERE user_id IN (SELECT value FROM json_each(?))"
ADDRESSES: Final = "SELECT position, address FROM event_addresses WHERE position IN (SELECT value FROM json_each(?))"
STREAMS: Final = f"""
    SELECT {", ".join(f"events.{column}" for column in COLUMNS)} FROM json_each(?) AS asked
     CROSS JOIN events ON stream = asked.key AND version >= asked.value ORDER BY stream, version
"""  # noqa: S608 - names from our own code, no input
"""Streams, each from a version on, as one JSON object."""
PAGE: Final = f"""
    SELECT json_group_array(json_array({_HEADER})), json_group_array(length(data)),
           CAST(group_concat(data, '') AS BLOB), CAST(group_concat(prev_hash, '') AS BLOB),
           CAST(group_concat(hash, '') AS BLOB)
      FROM ({SELECT} WHERE position > ? ORDER BY position LIMIT ?)
"""  # noqa: S608 - names from our own code, no input
"""Many rows as one: for each row that SQLite gives its thread asks for the interpreter's lock, and the objects of rows
would be made in another processor's cache than the one that uses them."""
NAMES: Final = "SELECT stream FROM events WHERE stream > ? AND stream < ? AND version = 1 ORDER BY stream LIMIT ?"
CHECKPOINT: Final = "SELECT position FROM checkpoints WHERE name = ?"
