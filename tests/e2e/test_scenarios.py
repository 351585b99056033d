"""Every scenario, on both profiles."""

from pathlib import Path

import pytest

from tests.e2e.profiles import Distributed, Embedded
from tests.e2e.steps import carry_out
from tests.e2e.world import NamedKey, World

SCENARIOS = sorted((Path(__file__).parent / "scenarios").glob("*.txt"))


@pytest.mark.xdist_group("e2e")
@pytest.mark.parametrize("profile_name", ["embedded", "distributed"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda path: path.stem)
def test_the_scenario_holds(request: pytest.FixtureRequest, profile_name: str, scenario: Path) -> None:
    profile: Embedded | Distributed = request.getfixturevalue(profile_name)
    root = profile.root_key()
    world = World(profile, keys={"root": NamedKey(id="", token=root)})
    world.keys["root"].id = world.verify(root).json()["key_id"]
    for number, line in enumerate(scenario.read_text(encoding="utf-8").splitlines(), start=1):
        sentence = line.strip()
        if sentence and not sentence.startswith("#"):
            try:
                carry_out(world, sentence)
            except AssertionError as failure:
                raise AssertionError(f"{scenario.name}, line {number}: {sentence}\n{failure}") from failure
