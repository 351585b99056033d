"""What the programs log, put into the trace or nowhere."""

import gc
import logging
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any

import structlog

Tell = Callable[[str], None]


@contextmanager
def logging_to(tell: Tell | None) -> Iterator[None]:
    """Have log lines told (None: dropped) inside."""
    before, root, handler = structlog.get_config(), logging.getLogger(), _Telling(tell)

    def drop(_: Any, method: str, line: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if tell is not None:
            tell(f"{'':10}  {method:14} {line}")
        raise structlog.DropEvent

    structlog.configure(
        processors=[drop],
        wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL if tell is None else logging.DEBUG),
        cache_logger_on_first_use=False,
    )
    logging.disable(logging.CRITICAL if tell is None else logging.NOTSET)
    root.addHandler(handler)
    try:
        yield
    finally:
        root.removeHandler(handler)
        logging.disable(logging.NOTSET)
        structlog.configure(**before)


@contextmanager
def collecting_by_hand() -> Iterator[Callable[[], object]]:
    """Have no garbage collected inside but by calling what is given: what there was before is not looked at again."""
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield gc.collect
    finally:
        gc.enable()
        gc.unfreeze()


class _Telling(logging.Handler):
    def __init__(self, tell: Tell | None) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        if self._tell is not None:
            self._tell(f"{'':10}  {record.levelname.lower():14} {record.getMessage()}")
