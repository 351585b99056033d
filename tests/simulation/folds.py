"""Folds beside the product's own: one that shows what was folded and in which order, and one that stumbles."""

from typing import Any
from zlib import crc32

from keyledger.contracts.envelope import Fact
from keyledger.projections.port import Projection


class Positions:
    """The positions of each key's events: what is folded twice stands there twice."""

    name = "positions"
    generation = 1

    def wants(self, stream: str) -> bool:
        return stream.startswith("key_")

    def project(self, row: tuple[int, ...] | None, fact: Fact) -> tuple[int, ...]:
        return (*(row or ()), fact.header.position)


class Stumbling:
    """A fold that raises at some events, always the same ones, until it is mended."""

    def __init__(self, projection: Projection[Any], seed: int) -> None:
        self._projection, self._seed = projection, seed
        self.name, self.generation = projection.name, projection.generation
        self.mended = False

    def wants(self, stream: str) -> bool:
        return self._projection.wants(stream)

    def project(self, row: Any, fact: Fact) -> Any:
        if not self.mended and crc32(f"{self._seed} {fact.header.stream} {fact.header.version}".encode()) % 4 == 0:
            raise ValueError("stumbled")
        return self._projection.project(row, fact)
