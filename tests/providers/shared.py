"""The servers of a run, for what is no pytest test: the same environment variables, the same providers."""

import os
from dataclasses import dataclass

from tests.providers.run import ServerName, TestRun


@dataclass(frozen=True)
class SharedServers:
    """Each server is started when it is first asked for, and ends with the run. Raises NoServerError."""

    run: TestRun

    def postgres_url(self) -> str:
        """Return a server with a user who may make databases."""
        return self._address("postgres")

    def kafka_bootstrap(self) -> str:
        """Return a broker, ``host:port``."""
        return self._address("kafka")

    def _address(self, name: ServerName) -> str:
        return given_address(name) or self.run.address(name)


def given_address(name: ServerName) -> str | None:
    """Return the address that the environment gives, if it gives one."""
    variables = {"postgres": "KEYLEDGER_TEST_POSTGRES_URL", "kafka": "KEYLEDGER_TEST_KAFKA_BOOTSTRAP"}
    return os.environ.get(variables[name]) or None
