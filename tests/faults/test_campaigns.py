"""A short form of the campaigns: a few rounds of each, with a fixed plan. ``make faults`` runs them long."""

from pathlib import Path

import pytest

from tests.faults.campaign import Campaign, Stage, run_once
from tests.faults.registry import CAMPAIGNS
from tests.faults.small_disk import may_mount

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
    if "mount" in campaign.needs and not may_mount():
        pytest.skip("it needs a small file system of its own, and this user may not make one")
    for server in campaign.needs & {"postgres", "kafka"}:
        request.getfixturevalue("postgres_url" if server == "postgres" else "kafka_bootstrap")
    return FixtureServers(request)


def _parameter(campaign: Campaign) -> object:
    marks = [getattr(pytest.mark, need) for need in sorted(campaign.needs) if need != "mount"]
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
