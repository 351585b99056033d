"""Every campaign there is: a file in ``campaigns/`` adds its own here."""

from typing import Final

from tests.faults.campaign import Campaign
from tests.faults.campaigns import full_disk, killed_commands, killed_postgres, racing_writers, uncertain_commit

CAMPAIGNS: Final[tuple[Campaign, ...]] = (
    *killed_commands.CAMPAIGNS,
    *uncertain_commit.CAMPAIGNS,
    *racing_writers.CAMPAIGNS,
    *killed_postgres.CAMPAIGNS,
    *full_disk.CAMPAIGNS,
)
