"""Fixtures that every test may use: real servers (see ``tests/providers``)."""

from tests.providers import (
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
