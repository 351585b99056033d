"""A short form of every campaign: a few rounds of each, with a fixed plan. ``make faults`` runs them long."""

from pathlib import Path

import pytest

from tests.faults.campaign import Campaign, Stage, run_once
from tests.faults.registry import CAMPAIGNS

SEED = 4


class FixtureServers:
    """The test run's servers, started when a campaign asks for one."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request

    def postgres_url(self) -> str:
        return str(self._request.getfixturevalue("postgres_url"))

    def kafka_bootstrap(self) -> str:
        return str(self._request.getfixturevalue("kafka_bootstrap"))


def _parameter(campaign: Campaign) -> object:
    marks = [getattr(pytest.mark, server) for server in sorted(campaign.needs)]
    return pytest.param(campaign, id=campaign.name, marks=marks)


@pytest.mark.parametrize("campaign", [_parameter(campaign) for campaign in CAMPAIGNS])
async def test_nothing_that_was_answered_is_lost_or_doubled(
    campaign: Campaign, server_folder: Path, request: pytest.FixtureRequest
) -> None:
    servers = FixtureServers(request)
    for server in campaign.needs:  # here, where the loop does not wait for it
        servers.postgres_url() if server == "postgres" else servers.kafka_bootstrap()
    stage = Stage(SEED, campaign.short_rounds, server_folder, servers)
    outcome = await run_once(campaign, stage)
    assert not outcome.violations, "; ".join([*stage.said, *outcome.violations])
    assert outcome.faults > 0, "what is to be broken was broken"
