"""Named places where a process may be told to die or to stand still, so that tests can do it there and nowhere else.

``KEYLEDGER_FAILPOINT=relay.after_send:kill``; several separated by commas; ``relay.after_send:kill@7`` at the seventh
passing. Unarmed, a place costs one look at an empty dict.
"""

import os
import signal
import threading
import time
from typing import Final, Literal, get_args

from msgspec import Struct

Name = Literal[
    "ledger.before_commit",
    "ledger.in_commit",
    "ledger.after_commit",
    "secret.before_name",
    "secret.after_name",
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
MEANWHILE_SECONDS: Final = 0.0003
"""How long after ``reach_meanwhile`` the place is reached: a commit has begun by then, and waits for its disk."""
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
    if _armed and (due := _due(name)) is not None:
        os.kill(os.getpid(), due)


def reach_meanwhile(name: Name) -> None:
    """As ``reach``, a moment from now and from another thread: in the middle of what the caller waits for next."""
    if _armed and (due := _due(name)) is not None:
        threading.Thread(target=_signal_later, args=(due,), daemon=True).start()


def _due(name: Name) -> signal.Signals | None:
    here = _armed.get(name)
    if here is None:
        return None
    here.passings_left -= 1
    return _SIGNALS[here.action] if here.passings_left == 0 else None


def _signal_later(due: signal.Signals) -> None:
    time.sleep(MEANWHILE_SECONDS)
    os.kill(os.getpid(), due)


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
