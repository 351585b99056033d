"""The classes under test, each of which a planted bug may stand in for."""

from typing import Any

from msgspec import Struct

from keyledger.eventstore.writer import GroupCommit
from keyledger.projections.runner import ProjectionRunner
from keyledger.verification.auth_events import AuthEventSink
from keyledger.verification.node import VerifierNode
from keyledger_anomalies.changelog import ChangelogLane
from keyledger_anomalies.loop import DetectorLoop
from keyledger_relay.heads import Heads
from keyledger_relay.mark import Mark
from keyledger_relay.relay import Relay
from tests.simulation.read_models import SimulatedReadModel


class Parts(Struct, frozen=True):
    """What the programs are put together from."""

    writer: type[Any] = GroupCommit
    relay: type[Any] = Relay
    mark: type[Any] = Mark
    heads: type[Any] = Heads
    runner: type[Any] = ProjectionRunner
    read_model: type[Any] = SimulatedReadModel
    node: type[Any] = VerifierNode
    sink: type[Any] = AuthEventSink
    detector: type[Any] = DetectorLoop
    lane: type[Any] = ChangelogLane
