"""The ledger's tables, and how they came to be. Run by ``eventstore.migrating``, never at start-up by itself."""

from typing import Final

REVISION: Final = "0001"
"""The newest revision. Stated here so that opening a ledger needs neither Alembic nor SQLAlchemy."""

VERSION_TABLE: Final = "ledger_revision"
"""Alembic's own table. Named, because a read model may keep its tables, with a history of their own, beside these."""
