"""What a fault campaign is: something that is broken again and again under load, and what must hold all the same."""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

Need = Literal["postgres", "kafka", "mount", "network"]
"""A server, or the right to make file systems, or networks."""


class Servers(Protocol):
    """Real servers that all runs share, started when somebody first asks."""

    def postgres_url(self) -> str:
        """Return a server whose user may make databases."""
        ...

    def kafka_bootstrap(self) -> str:
        """Return a broker, ``host:port``."""
        ...


@dataclass
class Stage:
    """Where one run happens. Whatever a run decides by chance it draws from ``random``: the same seed, the same plan.

    ``rounds`` says how long it goes on; ``folder`` is empty and its own; ``said`` is the plan, for whoever replays it.
    """

    seed: int
    rounds: int
    folder: Path
    servers: Servers
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)

    def say(self, step: str) -> None:
        """Note a step of the plan."""
        self.said.append(step)


@dataclass
class Outcome:
    """What a run did: faults that struck, writes by what their client knows of them, and what should not have been."""

    faults: int = 0
    ok: int = 0
    failed: int = 0
    unknown: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: "Outcome") -> None:
        """Add another run's figures."""
        self.faults += other.faults
        self.ok += other.ok
        self.failed += other.failed
        self.unknown += other.unknown
        self.violations += other.violations


@dataclass(frozen=True)
class Campaign:
    """One row of the table. ``run`` may raise: what it raises is a violation too.

    ``naive`` is the same run of what has not this defence: the oracle must see it red.
    ``rounds`` are those of one run of ``make faults``, ``short_rounds`` those of the test in ``make test``. That leaves
    out what is ``long``: its like has a short form.
    """

    name: str
    breaks: str
    run: Callable[[Stage], Awaitable[Outcome]]
    runs: int
    rounds: int
    budget_minutes: float
    short_rounds: int = 1
    long: bool = False
    naive: Callable[[Stage], Awaitable[Outcome]] | None = None
    needs: frozenset[Need] = frozenset()


async def run_once(campaign: Campaign, stage: Stage) -> Outcome:
    """Run the campaign once; an exception becomes a violation, with what it says."""
    try:
        return await campaign.run(stage)
    except Exception as error:  # noqa: BLE001 - a campaign that falls is a finding, and the next ones still run
        return Outcome(violations=[f"{type(error).__name__}: {error}"])
