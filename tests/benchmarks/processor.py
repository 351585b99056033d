"""What a process has had of the processors."""

import os

from infra.local.processes import stat_fields


def cpu_seconds(process: int) -> float:
    """Return what a process has had of the processors so far: others disturb it less than elapsed time."""
    fields = stat_fields(process)
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
