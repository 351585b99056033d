"""Log lines: one event a line, for people or as JSON, on standard error."""

import logging
import sys
from typing import Literal

import structlog


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
    number = logging.getLevelNamesMapping()[level.upper()]
    structlog.configure(
        processors=[*shared, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    # Libraries speak from warning on: at info aiokafka and uvicorn tell of every connection.
    logging.basicConfig(handlers=[handler], level=max(number, logging.WARNING), force=True)
