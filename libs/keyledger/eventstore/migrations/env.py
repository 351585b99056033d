"""Alembic's entry: runs the revisions over the connection that ``eventstore.migrating`` hands in."""

from alembic import context

from keyledger.eventstore.migrations import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=None,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
