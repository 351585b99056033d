"""Named places where a process may be told to die or to stand still, so that tests can do it there and nowhere else.

``KEYLEDGER_FAILPOINT=relay.after_send:kill``; several separated by commas; ``relay.after_send:kill@7`` at the seventh
passing. Unarmed, a place costs one look at an empty dict.
"""

import os
import signal
from typing import Final, Literal, get_args

from msgspec import Struct

Name = Literal[
    "ledger.before_commit",
    "ledger.in_commit",
    "ledger.after_commit",
    "relay.before_send",
    "relay.after_send",
    "relay.after_checkpoint",
    "projection.before_rows",
    "projection.before_commit",
    "projection.after_commit",
    "detector.before_alerts",
    "detector.after_alerts",
    "detector.after_table",
]
Action = Literal["kill", "stop"]
_SIGNALS: Final[dict[str, signal.Signals]] = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class UnknownFailpoint(ValueError):
    """A failpoint that does not exist, or one that is told to do what it cannot."""


class _Armed(Struct):
    action: Action
    passings_left: int


_armed: dict[str, _Armed] = {}


def arm(setting: str) -> None:
    """Arm what the setting names, in this process, instead of what was armed before.

    Raises:
        UnknownFailpoint: no such name or action; nothing is armed.
    """
    armed = dict(_parse(part.strip()) for part in setting.split(",") if part.strip())
    _armed.clear()
    _armed.update(armed)


def reach(name: Name) -> None:
    """Do what this place is armed for, if it is: ``kill`` never returns, ``stop`` returns when the process goes on."""
    if not _armed or (here := _armed.get(name)) is None:
        return
    here.passings_left -= 1
    if here.passings_left == 0:
        os.kill(os.getpid(), _SIGNALS[here.action])


def _parse(part: str) -> tuple[str, _Armed]:
    name, _, rest = part.partition(":")
    action, _, passing = rest.partition("@")
    if name not in get_args(Name):
        raise UnknownFailpoint(f"{name!r} is no failpoint: {', '.join(get_args(Name))}")
    match action:
        case "kill" | "stop":
            count = passing or "1"
        case _:
            raise UnknownFailpoint(f"{part!r}: say {name}:kill or {name}:stop")
    if not count.isdigit() or int(count) < 1:
        raise UnknownFailpoint(f"{part!r}: say at which passing, {name}:{action}@1 being the first")
    return name, _Armed(action, int(count))
