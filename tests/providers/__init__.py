"""A real Kafka and Postgres for tests, whichever way this machine can give them.

`tests/conftest.py` imports everything in `__all__` by name: fixtures and hooks alike.
"""

from tests.providers.fixtures import (
    kafka_bootstrap,
    postgres_database,
    postgres_url,
    pytest_configure,
    pytest_configure_node,
    pytest_unconfigure,
    server_folder,
)

__all__ = [
    "kafka_bootstrap",
    "postgres_database",
    "postgres_url",
    "pytest_configure",
    "pytest_configure_node",
    "pytest_unconfigure",
    "server_folder",
]
