"""The Dockerfile as data: its stages, each a list of instructions."""

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.local.templates import INFRA, PROJECT

DOCKERFILE: Final = INFRA / "Dockerfile"
IGNORED: Final = PROJECT / ".dockerignore"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction: its name in capitals, and all that follows it, on one line."""

    name: str
    text: str

    @property
    def words(self) -> list[str]:
        """What follows, as words: the list of an exec form, or as a shell splits it."""
        return [str(word) for word in json.loads(self.text)] if self.text.startswith("[") else shlex.split(self.text)


@dataclass(frozen=True, slots=True)
class Stage:
    """What is built from one base. ``name``: by which other stages copy from it; empty for the image itself."""

    name: str
    base: str
    steps: tuple[Instruction, ...]

    def last(self, name: str) -> Instruction:
        """Return the instruction of this name that holds. Raises LookupError."""
        found = [step for step in self.steps if step.name == name]
        if not found:
            raise LookupError(f"the stage has no {name}")
        return found[-1]

    @property
    def environment(self) -> dict[str, str]:
        """What ENV sets, without the variables that it names being filled in."""
        pairs = (word.split("=", 1) for step in self.steps if step.name == "ENV" for word in step.words)
        return {name: value for name, value in pairs}  # noqa: C416 - dict() would take pairs of any length


def read_stages(path: Path = DOCKERFILE) -> tuple[Stage, ...]:
    """Return the stages in order; the last one is the image."""
    stages: list[Stage] = []
    steps: list[Instruction] = []
    for instruction in _instructions(path.read_text(encoding="utf-8")):
        if instruction.name == "FROM":
            steps = []
            base, *alias = re.split(r"\s+AS\s+", instruction.text)
            stages.append(Stage("".join(alias), base, ()))
        elif stages:
            steps.append(instruction)
            stages[-1] = Stage(stages[-1].name, stages[-1].base, tuple(steps))
    return tuple(stages)


def _instructions(text: str) -> Iterator[Instruction]:
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("#"))
    for line in lines.replace("\\\n", "").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            yield Instruction(name.upper(), rest.strip())


def sent_to_the_builder() -> set[str]:
    """Return what the builder gets to see of the project's folder: the file refuses all but what it names."""
    lines = IGNORED.read_text(encoding="utf-8").splitlines()
    if "*" not in lines:
        raise ValueError(".dockerignore must refuse everything that it does not name")
    return {line.removeprefix("!") for line in lines if line.startswith("!")}
