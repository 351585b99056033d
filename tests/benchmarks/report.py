"""Figures as a table: what was measured, the figure, and its ratio to what it was compared with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One figure. ``ratio``: to the comparison of the same run; None for the comparison itself."""

    what: str
    figure: float
    ratio: float | None = None
    note: str = ""


def quantile(values: Sequence[float], share: float) -> float:
    """Return the value below which ``share`` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def table(rows: Iterable[Row]) -> str:
    """Return the rows as Markdown."""
    lines = ["| measured | figure | ratio | |", "|---|---:|---:|---|"]
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append(f"| {row.what} | {row.figure:,.{0 if row.figure >= 100 else 2}f} | {ratio} | {row.note} |")
    return "\n".join(lines)
