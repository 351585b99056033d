"""Every campaign there is: a file in ``campaigns/`` adds its own here."""

from typing import Final

from tests.faults.campaign import Campaign
from tests.faults.campaigns import killed_commands

CAMPAIGNS: Final[tuple[Campaign, ...]] = (*killed_commands.CAMPAIGNS,)
