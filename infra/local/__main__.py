"""`python -m infra.local up|down|status|jars`: the cluster of `make cluster`, from the project's root."""

import argparse
import sys

from infra.local.cluster import Cluster, cluster_down, cluster_from_environment, cluster_up
from infra.local.kafka_jars import kafka_jars
from infra.local.processes import ServerFailed


def main() -> int:
    """Run one command; 0 when it did what it says, 1 when it could not."""
    parser = argparse.ArgumentParser(prog="python -m infra.local", description=__doc__)
    parser.add_argument("command", choices=("up", "down", "status", "jars"))
    command = parser.parse_args().command
    try:
        return _COMMANDS[command](cluster_from_environment())
    except ServerFailed as failure:
        _say(str(failure))
        return 1
    except KeyboardInterrupt:
        return 130


def _up(cluster: Cluster) -> int:
    # Imported here: stopping and looking must work even while the contracts do not import.
    from keyledger.contracts.routes import ROUTES  # noqa: PLC0415

    if not cluster_up(cluster, ROUTES, _say):
        _say(f"already running at {cluster.url}; nothing was changed")
    return 0


def _down(cluster: Cluster) -> int:
    if not cluster_down(cluster, _say):
        _say("no cluster is running")
    return 0


def _status(cluster: Cluster) -> int:
    processes = cluster.state.processes()
    for process in processes:
        _say(f"{process.name:14} {process.pid:8} {'running' if process.is_running() else 'gone':8} {process.log}")
    return 0 if processes and all(process.is_running() for process in processes) else 1


def _jars(_cluster: Cluster) -> int:
    _say(str(kafka_jars()))
    return 0


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


_COMMANDS = {"up": _up, "down": _down, "status": _status, "jars": _jars}

if __name__ == "__main__":
    sys.exit(main())
