"""A copy of a real module in which some lines are exchanged: the product itself is not touched."""

import inspect
from textwrap import indent
from types import ModuleType
from typing import Any

from msgspec import Struct


class PlantDoesNotFit(Exception):
    """The code that a planted bug changes is not there any more: the plant has to follow it."""


class Exchange(Struct, frozen=True):
    """Lines and what stands for them, both ``deep`` spaces deep in the module."""

    old: str
    new: str
    deep: int


def altered(module: ModuleType, *exchanges: Exchange, **names: Any) -> Any:
    """Return a copy of the module in which lines are exchanged and other things stand under some names.

    Raises:
        PlantDoesNotFit: lines are not there exactly once, or the module knows nothing under one of the names.
    """
    if unknown := [name for name in names if not hasattr(module, name)]:
        raise PlantDoesNotFit(f"{module.__name__} knows no {', '.join(unknown)}")
    source = inspect.getsource(module)
    for exchange in exchanges:
        old, new = (_lines(text, exchange.deep) for text in (exchange.old, exchange.new))
        if source.count(old) != 1:
            raise PlantDoesNotFit(f"{module.__name__} holds {source.count(old)} times:\n{old}")
        source = source.replace(old, new)
    copy = ModuleType(module.__name__)
    copy.__file__ = module.__file__
    exec(compile(source, f"planted {module.__name__}", "exec"), copy.__dict__)  # noqa: S102 - our own source
    # What is raised must stay what others catch.
    kept = {name: one for name, one in vars(module).items() if isinstance(one, type) and issubclass(one, BaseException)}
    copy.__dict__.update({**kept, **names})
    return copy


def _lines(text: str, deep: int) -> str:
    return indent(inspect.cleandoc(text), " " * deep) + "\n" if text else ""
