"""The SQL of the append. Each statement is one round trip, and round trips are what a batch costs."""

from typing import Final

from keyledger.eventstore.rows import COLUMNS

LOCK: Final = "BEGIN; SELECT FROM ledger_head FOR UPDATE"
"""Measured against an advisory lock: equal (0.13 ms both). This one needs no number that others must not use."""

FACTS: Final = """
    SELECT NULL::text AS stream, NULL::bigint AS version, position, recorded_at, hash, NULL::idempotency AS claim
      FROM ledger_head
    UNION ALL
    SELECT asked, tail.version, tail.position, tail.recorded_at, NULL, NULL
      FROM unnest($1::text[]) AS asked CROSS JOIN LATERAL (
        SELECT version, position, recorded_at FROM events WHERE stream = asked ORDER BY version DESC LIMIT 1
      ) AS tail
    UNION ALL
    SELECT NULL, NULL, NULL, NULL, NULL, kept FROM idempotency AS kept WHERE scope = ANY($2::bytea[])
"""
"""Head, tails of streams ($1) and claims ($2). A statement after LOCK, never the same: its snapshot must be taken when
the lock is held, else it would not show what the writer before us did."""

WRITTEN: Final = """
    SELECT asked.append_id, last.position, last.version, last.recorded_at
      FROM unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[]) AS asked(append_id, stream, first, last)
      JOIN events AS first ON first.stream = asked.stream AND first.version = asked.first
       AND first.append_id = asked.append_id
      JOIN events AS last ON last.stream = asked.stream AND last.version = asked.last
"""

WRITE_EVENTS: Final = """
    WITH written AS (INSERT INTO events SELECT * FROM unnest($1::events[])),
         moved AS (UPDATE ledger_head SET position = $2, hash = $3, recorded_at = $4 WHERE position < $2)
    SELECT pg_notify($5, $2::bigint::text)
"""
"""One array of rows: measured to be the fastest up to some hundred rows; COPY (one round trip more) beyond."""

WRITE_ALL: Final = """
    WITH written AS (INSERT INTO events SELECT * FROM unnest($1::events[])),
         moved AS (UPDATE ledger_head SET position = $2, hash = $3, recorded_at = $4 WHERE position < $2),
         claimed AS (
            INSERT INTO idempotency SELECT * FROM unnest($6::idempotency[])
            ON CONFLICT (scope) DO UPDATE SET (request_digest, status, stream, position, version, recorded_at,
                append_id, claimed_at) = (excluded.request_digest, excluded.status, excluded.stream, excluded.position,
                excluded.version, excluded.recorded_at, excluded.append_id, excluded.claimed_at)),
         swept AS (
            DELETE FROM idempotency WHERE scope IN (
                SELECT scope FROM idempotency
                 WHERE claimed_at <= $7 AND scope NOT IN (SELECT scope FROM unnest($6::idempotency[]))
                 ORDER BY claimed_at LIMIT 2 * cardinality($6::idempotency[]))),
         profiled AS (
            INSERT INTO profiles SELECT * FROM unnest($8::profiles[])
            ON CONFLICT (user_id) DO UPDATE SET (name, email) = (excluded.name, excluded.email)),
         addressed AS (INSERT INTO event_addresses SELECT * FROM unnest($9::event_addresses[]))
    SELECT pg_notify($5, $2::bigint::text)
"""
"""Claims older than $7 are swept in passing, two for each new one: so the table stays bounded, without another task."""

STREAMS: Final = f"""
    SELECT rows.* FROM unnest($1::text[], $2::bigint[]) AS asked(stream, first) CROSS JOIN LATERAL (
        SELECT {", ".join(COLUMNS)} FROM events
         WHERE events.stream = asked.stream AND version >= first ORDER BY version
    ) AS rows
"""  # noqa: S608 - names from our own code, no input
"""Streams ($1), each from a version on ($2), and within each in order."""

NAMES: Final = "SELECT stream FROM events WHERE stream > $1 AND stream < $2 AND version = 1 ORDER BY stream LIMIT $3"
"""Along the index of streams and versions, whose streams are compared by their bytes."""

COMMIT: Final = "COMMIT"
ROLLBACK: Final = "ROLLBACK"
