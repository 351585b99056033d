"""A process dies where it was told to, at the passing it was told, and nowhere else."""

import signal
import subprocess
import sys

import pytest

from keyledger.contracts.failpoints import UnknownFailpoint, arm

PASSING_THREE_TIMES = """
import sys
from keyledger.contracts.failpoints import arm, reach
arm(sys.argv[1])
for number in (1, 2, 3):
    reach("relay.before_send")
    reach("relay.after_send")
    print(number, flush=True)
"""


def passing(setting: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PASSING_THREE_TIMES, setting], capture_output=True, text=True, timeout=60, check=False
    )
    return done.returncode, done.stdout


def test_an_armed_process_dies_at_the_passing_it_was_told() -> None:
    assert passing("relay.after_send:kill@2") == (-signal.SIGKILL, "1\n")


def test_an_armed_process_dies_in_the_middle_of_what_it_waits_for() -> None:
    waiting = """
import time
from keyledger.contracts.failpoints import arm, reach_meanwhile
arm("ledger.in_commit:kill@2")
for number in (1, 2):
    reach_meanwhile("ledger.in_commit")
    print(number, flush=True)
time.sleep(60)
print("never", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", waiting], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, "1\n2\n")


def test_a_process_that_is_armed_for_another_place_goes_on() -> None:
    assert passing("relay.after_checkpoint:kill") == (0, "1\n2\n3\n")


def test_of_several_the_first_to_be_reached_acts() -> None:
    assert passing("relay.after_send:kill@3, relay.before_send:kill@3") == (-signal.SIGKILL, "1\n2\n")


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("relay.after_sending:kill", "'relay.after_sending' is no failpoint"),
        ("relay.after_send", "say relay.after_send:kill"),
        ("relay.after_send:explode", "say relay.after_send:kill"),
        ("relay.after_send:kill@0", "at which passing"),
        ("relay.after_send:kill@often", "at which passing"),
    ],
)
def test_a_failpoint_that_does_not_exist_is_refused_by_name(setting: str, says: str) -> None:
    with pytest.raises(UnknownFailpoint, match=says):
        arm(setting)
