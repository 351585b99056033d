"""A fold that shows what was folded and in which order: what is folded twice stands there twice."""

from keyledger.contracts.envelope import Fact


class Positions:
    """The positions of each key's events."""

    name = "positions"
    generation = 1

    def wants(self, stream: str) -> bool:
        return stream.startswith("key_")

    def project(self, row: tuple[int, ...] | None, fact: Fact) -> tuple[int, ...]:
        return (*(row or ()), fact.header.position)
