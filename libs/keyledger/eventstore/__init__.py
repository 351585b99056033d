"""The ledger: one append-only, totally ordered table of events, on Postgres or SQLite."""
