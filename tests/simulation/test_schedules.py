import os
import subprocess
import sys
from pathlib import Path

import pytest

from keyledger.eventstore import writer
from tests.simulation import campaign
from tests.simulation.altering import Exchange, PlantDoesNotFit, altered
from tests.simulation.plants import PLANTS

CHUNKS, SCHEDULES_EACH = 6, 400
ENOUGH_FOR_EACH_PLANT = 2_000
STEPS_AT_LEAST = 50
REPOSITORY = Path(__file__).parents[2]


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_whatever_goes_wrong_and_in_whatever_order_nothing_is_violated(chunk: int) -> None:
    seeds = range(chunk * SCHEDULES_EACH, (chunk + 1) * SCHEDULES_EACH)
    results = list(campaign.results(seeds))
    assert [(one.seed, one.violation) for one in results if one.violation is not None] == []
    assert min(one.steps for one in results) >= STEPS_AT_LEAST


@pytest.mark.parametrize("plant", sorted(PLANTS))
def test_a_planted_bug_is_found(plant: str) -> None:
    found = campaign.until_found(plant, first=0, most=ENOUGH_FOR_EACH_PLANT)
    assert found is not None, PLANTS[plant].says


def test_a_planted_bug_that_no_longer_fits_the_code_says_so() -> None:
    with pytest.raises(PlantDoesNotFit, match="holds 0 times"):
        altered(writer, Exchange("a line that is not there", "", 8))


def test_a_seed_is_the_same_schedule_in_every_process() -> None:
    assert digests("1") == digests("2")


def digests(hash_seed: str) -> str:
    """Return the check sums of some schedules' traces, in a process whose sets of strings have another order."""
    code = "from tests.simulation import campaign; print([hex(one.digest) for one in campaign.results(range(60))])"
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, check=True
    )
    return done.stdout.decode()
