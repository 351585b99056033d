"""Every campaign there is: a file in ``campaigns/`` adds its own here."""

from typing import Final

from tests.faults.campaign import Campaign
from tests.faults.campaigns import (
    detectors,
    full_disk,
    guarded_creation,
    index_power_cut,
    killed_commands,
    killed_first_start,
    killed_postgres,
    late_commit,
    ledger_power_cut,
    racing_writers,
    uncertain_commit,
)

CAMPAIGNS: Final[tuple[Campaign, ...]] = (
    *killed_commands.CAMPAIGNS,
    *killed_first_start.CAMPAIGNS,
    *uncertain_commit.CAMPAIGNS,
    *racing_writers.CAMPAIGNS,
    *guarded_creation.CAMPAIGNS,
    *late_commit.CAMPAIGNS,
    *killed_postgres.CAMPAIGNS,
    *full_disk.CAMPAIGNS,
    *ledger_power_cut.CAMPAIGNS,
    *index_power_cut.CAMPAIGNS,
    *detectors.CAMPAIGNS,
)
