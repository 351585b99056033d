"""What a campaign needs that not every user may have: file systems and networks of its own."""

from collections.abc import Callable
from typing import Final

from tests.faults.cables import may_make_networks
from tests.faults.campaign import Campaign, Need
from tests.faults.small_disk import may_mount

_RIGHTS: Final[dict[Need, tuple[str, Callable[[], bool]]]] = {
    "mount": ("a small file system of its own", may_mount),
    "network": ("a network namespace of its own", may_make_networks),
}


def lacking_right(campaign: Campaign) -> str | None:
    """Say what the campaign needs and this user may not make; None if it may run."""
    for need in sorted(campaign.needs & _RIGHTS.keys()):
        what, may = _RIGHTS[need]
        if not may():
            return f"it needs {what}, and this user may not make one"
    return None
