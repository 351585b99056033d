"""A network namespace of a run's own: a service in it is reached over cables that can be pulled, as another machine."""

import secrets
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from infra.local.processes import ServerFailed, find_program

NETWORK: Final = "198.18"
"""The addresses that RFC 2544 keeps for tests of networks: nobody is reached at them."""


@dataclass(frozen=True)
class Cable:
    """A pair of virtual devices (veth): ``near`` is this machine's address, ``far`` the namespace's."""

    namespace: str
    device: str
    near: str
    far: str

    def pull(self) -> None:
        """From now on what is sent is lost, both ways, and nobody is told."""
        _ip("-n", self.namespace, "link", "set", self.device, "down")

    def plug(self) -> None:
        """Connect again. TCP repeats what it still holds."""
        _ip("-n", self.namespace, "link", "set", self.device, "up")


class Machine:
    """A namespace. What runs in it has a loopback device and these cables, and nothing else."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    @property
    def within(self) -> list[str]:
        """The command that runs another one in here."""
        return [find_program("ip"), "netns", "exec", self._namespace]

    def cable(self) -> Cable:
        """Return a new one, plugged in."""
        name, block = f"kl{secrets.token_hex(5)}", 4 * secrets.randbelow(1 << 14)
        near, far = (f"{NETWORK}.{(block + host) >> 8}.{(block + host) & 255}" for host in (1, 2))
        cable = Cable(self._namespace, f"{name}f", near, far)
        _ip("link", "add", f"{name}n", "type", "veth", "peer", "name", cable.device, "netns", self._namespace)
        _ip("address", "add", f"{near}/30", "dev", f"{name}n")
        _ip("-n", self._namespace, "address", "add", f"{far}/30", "dev", cable.device)
        _ip("link", "set", f"{name}n", "up")
        cable.plug()
        return cable


def may_make_networks() -> bool:
    """Say whether this process may make namespaces and devices: root mostly may, a container's root mostly not."""
    try:
        with another_machine() as machine:
            machine.cable()
    except (ServerFailed, subprocess.CalledProcessError):
        return False
    return True


@contextmanager
def another_machine() -> Iterator[Machine]:
    """Give a namespace; with it go its cables. Whatever runs in it must have ended by then."""
    namespace = f"keyledger-{secrets.token_hex(5)}"
    _ip("netns", "add", namespace)
    try:
        _ip("-n", namespace, "link", "set", "lo", "up")
        yield Machine(namespace)
    finally:
        _ip("netns", "delete", namespace)


def _ip(*arguments: str) -> None:
    subprocess.run([find_program("ip"), *arguments], check=True, capture_output=True)
