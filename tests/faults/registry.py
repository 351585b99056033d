"""Every campaign there is: a file in ``campaigns/`` adds its own here."""

from typing import Final

from tests.faults.campaign import Campaign
from tests.faults.campaigns import (
    broken_brokers,
    create_against_deactivate,
    damaged_topics,
    delete_against_use,
    detectors,
    full_disk,
    guarded_creation,
    index_power_cut,
    killed_commands,
    killed_first_start,
    killed_postgres,
    killed_projectors,
    killed_relay,
    late_commit,
    ledger_power_cut,
    pulled_cables,
    racing_writers,
    restored_ledger,
    uncertain_commit,
)

CAMPAIGNS: Final[tuple[Campaign, ...]] = (
    *killed_commands.CAMPAIGNS,
    *killed_first_start.CAMPAIGNS,
    *uncertain_commit.CAMPAIGNS,
    *racing_writers.CAMPAIGNS,
    *guarded_creation.CAMPAIGNS,
    *create_against_deactivate.CAMPAIGNS,
    *delete_against_use.CAMPAIGNS,
    *late_commit.CAMPAIGNS,
    *killed_postgres.CAMPAIGNS,
    *pulled_cables.CAMPAIGNS,
    *full_disk.CAMPAIGNS,
    *restored_ledger.CAMPAIGNS,
    *killed_projectors.CAMPAIGNS,
    *ledger_power_cut.CAMPAIGNS,
    *index_power_cut.CAMPAIGNS,
    *detectors.CAMPAIGNS,
    *killed_relay.CAMPAIGNS,
    *broken_brokers.CAMPAIGNS,
    *damaged_topics.CAMPAIGNS,
)
