"""Log lines: one event a line, for people or as JSON, on standard error."""

import io
import logging
import sys
from typing import Literal, TextIO, cast

import structlog


class LogStream(io.TextIOBase):
    """A stream for log lines that never raises: a full disk, or a reader that is gone, must not end who still serves.

    When lines can be written again, a line says that some may be missing.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._failed = False

    def write(self, text: str) -> int:
        try:
            return self._stream.write(text)
        except OSError:
            self._failed = True
            return len(text)

    def flush(self) -> None:
        try:
            self._stream.flush()
            if self._failed:
                self._stream.write("log lines may be missing here: they could not be written\n")
                self._stream.flush()
                self._failed = False
        except OSError:
            self._failed = True


class RepeatedKafkaLines(logging.Filter):
    """Drops what the Kafka client repeats within ``every_seconds``: while a broker is away, five lines a second.

    That the broker is away is logged by those who use the client, once when it goes and once when it is back.
    """

    def __init__(self, every_seconds: float = 30.0) -> None:
        super().__init__()
        self._every_seconds = every_seconds
        self._said_at: dict[tuple[str, int], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("aiokafka"):
            return True
        place = (record.name, record.lineno)  # and not the text: it may name something else each time
        said_at = self._said_at.get(place)
        if said_at is not None and record.created - said_at < self._every_seconds:
            return False
        self._said_at[place] = record.created
        return True


def configure_logging(level: Literal["debug", "info", "warning", "error"], form: Literal["console", "json"]) -> None:
    """Send this process's log lines, and those of its libraries, to standard error in one form."""
    renderer: structlog.typing.Processor
    if form == "json":
        renderer = structlog.processors.JSONRenderer()
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    stream = cast("TextIO", LogStream(sys.stderr))
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(stream),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.addFilter(RepeatedKafkaLines())
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    # Libraries speak from warning on: at info aiokafka and uvicorn tell of every connection.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
