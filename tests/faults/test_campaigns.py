"""A short form of the campaigns: a few rounds of each, with a fixed plan. ``make faults`` runs them long."""

from pathlib import Path

import pytest

from tests.faults.campaign import Campaign, Stage, run_once
from tests.faults.registry import CAMPAIGNS
from tests.faults.rights import lacking_right
from tests.faults.tally import ALL_MINUTES, LANES

SEED = 4


class FixtureServers:
    """The test run's servers, started when a campaign asks for one."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def postgres_url(self) -> str:
        return str(self._request.getfixturevalue("postgres_url"))

    def kafka_bootstrap(self) -> str:
        return str(self._request.getfixturevalue("kafka_bootstrap"))


def _servers(campaign: Campaign, request: pytest.FixtureRequest) -> FixtureServers:
    """Return the servers, those started that the campaign needs: a fixture cannot be asked inside of its loop."""
    if lacking := lacking_right(campaign):
        pytest.skip(lacking)
    for server in campaign.needs & {"postgres", "kafka"}:
        request.getfixturevalue("postgres_url" if server == "postgres" else "kafka_bootstrap")
    return FixtureServers(request)


def _parameter(campaign: Campaign) -> object:
    marks = [getattr(pytest.mark, need) for need in sorted(campaign.needs & {"postgres", "kafka"})]
    return pytest.param(campaign, id=campaign.name, marks=marks)


@pytest.mark.parametrize("campaign", [_parameter(campaign) for campaign in CAMPAIGNS if campaign.naive])
async def test_the_naive_way_is_noticed(
    campaign: Campaign, server_folder: Path, request: pytest.FixtureRequest
) -> None:
    assert campaign.naive is not None
    stage = Stage(SEED, campaign.rounds, server_folder, _servers(campaign, request))
    assert (await campaign.naive(stage)).violations, "else the campaign could not see a fault"


@pytest.mark.parametrize("campaign", [_parameter(campaign) for campaign in CAMPAIGNS if not campaign.long])
async def test_nothing_that_was_answered_is_lost_or_doubled(
    campaign: Campaign, server_folder: Path, request: pytest.FixtureRequest
) -> None:
    stage = Stage(SEED, campaign.short_rounds, server_folder, _servers(campaign, request))
    outcome = await run_once(campaign, stage)
    assert not outcome.violations, "; ".join([*stage.said, *outcome.violations])
    assert outcome.faults > 0, "what is to be broken was broken"


def test_three_hundred_runs_fit_into_the_hour() -> None:
    assert sum(campaign.runs for campaign in CAMPAIGNS) >= 300
    assert sum(campaign.budget_minutes for campaign in CAMPAIGNS) <= LANES * ALL_MINUTES
