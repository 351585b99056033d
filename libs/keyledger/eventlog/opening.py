"""Which log a URL names."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from keyledger.eventlog.kafka_security import PLAINTEXT, KafkaSecurity
from keyledger.eventlog.port import EventLog

FILE: Final = "sqlite:///"
CLUSTER: Final = "kafka://"


async def open_log(url: str, *, security: KafkaSecurity = PLAINTEXT, now: Callable[[], int] | None = None) -> EventLog:
    """Return the log, importing only what this one needs.

    Args:
        url: ``sqlite:///relative/log.db``, ``sqlite:////absolute/log.db`` or ``kafka://host:port,host:port``.
        security: for Kafka.
        now: the wall clock of the embedded log, in microseconds since 1970; the machine's own if None.

    Raises:
        ValueError: the URL names no log. It is not repeated: it may hold a password by mistake.
        LogUnavailable: the file cannot be used. A cluster is not asked before it is needed.
        OSError: ``security.ssl_cafile`` cannot be read.
    """
    if url.startswith(FILE) and len(url) > len(FILE):
        from keyledger.eventlog.embedded import EmbeddedLog, system_microseconds  # noqa: PLC0415 - lazily reached

        return await EmbeddedLog.open(Path(url.removeprefix(FILE)), now=now or system_microseconds)
    if url.startswith(CLUSTER) and len(url) > len(CLUSTER) and "@" not in url:
        from keyledger.eventlog.kafka import KafkaLog  # noqa: PLC0415 - lazily reached

        return KafkaLog(url.removeprefix(CLUSTER), security=security)
    raise ValueError("a log is sqlite:///path/log.db or kafka://host:port,host:port (credentials: KafkaSecurity)")
