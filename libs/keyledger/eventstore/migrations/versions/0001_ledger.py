"""The ledger: its head, the events, and what is kept beside them.

Times are integer microseconds. The tables that may be erased (profiles, event_addresses) are no part of the chain.
"""

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create everything, and give the ledger the name it has for ever."""
    _create_tables()
    _name_the_store()
    if op.get_bind().dialect.name == "postgresql":
        _forbid_changes_on_postgres()
    else:
        _forbid_changes_on_sqlite()


def _create_tables() -> None:
    name = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")  # compared by bytes: exact, and faster
    whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite: only INTEGER PRIMARY KEY is the row's own id
    op.create_table(
        "ledger_head",
        sa.Column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        sa.Column("store_id", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.CheckConstraint("id = 1", name="one_head"),
    )
    op.create_table(
        "events",
        sa.Column("position", whole, primary_key=True, autoincrement=False),
        sa.Column("organization_id", sa.Text, nullable=False),
        sa.Column("stream", name, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("type", sa.Text, nullable=False),
        sa.Column("schema_version", sa.BigInteger, nullable=False),
        sa.Column("may_ignore", sa.Boolean, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("actor_user", sa.Text),
        sa.Column("actor_key", sa.Text),
        sa.Column("request_id", sa.Text, nullable=False),
        sa.Column("append_id", sa.Text, nullable=False),
        sa.Column("traceparent", sa.Text),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("prev_hash", sa.LargeBinary, nullable=False),
        sa.Column("hash", sa.LargeBinary, nullable=False),
        # Also the index by which an uncertain append is found: its first event would be at expected_version + 1.
        sa.UniqueConstraint("stream", "version", name="one_event_per_version"),
    )
    op.create_table(
        "idempotency",
        sa.Column("scope", sa.LargeBinary, primary_key=True),
        sa.Column("request_digest", sa.LargeBinary, nullable=False),
        sa.Column("status", sa.BigInteger, nullable=False),
        sa.Column("stream", sa.Text, nullable=False),
        sa.Column("position", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("recorded_at", sa.BigInteger, nullable=False),
        sa.Column("append_id", sa.Text, nullable=False),
        sa.Column("claimed_at", sa.BigInteger, nullable=False),
    )
    op.create_index("idempotency_by_age", "idempotency", ["claimed_at"])
    op.create_table(
        "profiles",
        sa.Column("user_id", name, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("email", sa.Text),
    )
    op.create_table(
        "event_addresses",
        sa.Column("position", whole, primary_key=True, autoincrement=False),
        sa.Column("actor_user", sa.Text),
        sa.Column("address", sa.Text, nullable=False),
    )
    op.create_index("event_addresses_by_actor", "event_addresses", ["actor_user"])
    op.create_table(
        "checkpoints",
        sa.Column("name", name, primary_key=True),
        sa.Column("position", sa.BigInteger, nullable=False),
    )


def _name_the_store() -> None:
    head = sa.table(
        "ledger_head",
        sa.column("id", sa.SmallInteger),
        sa.column("store_id", sa.Text),
        sa.column("position", sa.BigInteger),
        sa.column("hash", sa.LargeBinary),
        sa.column("recorded_at", sa.BigInteger),
    )
    op.execute(head.insert().values(id=1, store_id=secrets.token_hex(16), position=0, hash=bytes(32), recorded_at=0))


def _forbid_changes_on_postgres() -> None:
    op.execute("""
        CREATE FUNCTION ledger_is_append_only() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            RAISE EXCEPTION 'the ledger is append-only: % on % is refused', TG_OP, TG_TABLE_NAME;
        END $$
    """)
    op.execute("""
        CREATE FUNCTION ledger_head_moves_forward() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            IF NEW.position <= OLD.position OR NEW.recorded_at < OLD.recorded_at OR NEW.store_id <> OLD.store_id THEN
                RAISE EXCEPTION 'the ledger is append-only: its head moves forward only';
            END IF;
            RETURN NEW;
        END $$
    """)
    for trigger in (
        "events_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON events",
        "ledger_head_stays BEFORE DELETE OR TRUNCATE ON ledger_head",
    ):
        op.execute(f"CREATE TRIGGER {trigger} FOR EACH STATEMENT EXECUTE FUNCTION ledger_is_append_only()")
    op.execute("""
        CREATE TRIGGER ledger_head_forward BEFORE UPDATE ON ledger_head
        FOR EACH ROW EXECUTE FUNCTION ledger_head_moves_forward()
    """)
    # ALWAYS: also in a session that calls itself a replica.
    op.execute("ALTER TABLE events ENABLE ALWAYS TRIGGER events_stay")
    op.execute("ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_stays")
    op.execute("ALTER TABLE ledger_head ENABLE ALWAYS TRIGGER ledger_head_forward")
    # Every batch updates the head's one row: room in its page keeps the updates cheap (no index is touched).
    op.execute("ALTER TABLE ledger_head SET (fillfactor = 10)")


def _forbid_changes_on_sqlite() -> None:
    for trigger in (
        "events_stay_undeleted BEFORE DELETE ON events",
        "events_stay_unchanged BEFORE UPDATE ON events",
        "ledger_head_stays_undeleted BEFORE DELETE ON ledger_head",
        """ledger_head_moves_forward BEFORE UPDATE ON ledger_head
           WHEN NEW.position <= OLD.position OR NEW.recorded_at < OLD.recorded_at OR NEW.store_id <> OLD.store_id""",
        # INSERT OR REPLACE deletes the rows in its way without asking the triggers for deletion.
        """events_stay_unreplaced BEFORE INSERT ON events
           WHEN EXISTS (SELECT 1 FROM events WHERE position = NEW.position)
             OR EXISTS (SELECT 1 FROM events WHERE stream = NEW.stream AND version = NEW.version)""",
        """ledger_head_stays_unreplaced BEFORE INSERT ON ledger_head
           WHEN EXISTS (SELECT 1 FROM ledger_head)""",
    ):
        op.execute(f"CREATE TRIGGER {trigger} BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END")
