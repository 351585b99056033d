"""Attempts: real ones at the verifier node, judged as they are answered, and made-up ones at the edges."""

from typing import Final

from keyledger.contracts.auth_event import AuthAttempt
from keyledger.contracts.verdict import Code
from keyledger.verification.node import VerifierNode
from keyledger.verification.verdict import Ask, Verdict
from tests.simulation.callers import Callers, Issued, Order
from tests.simulation.clock import true_time
from tests.simulation.faults import EPOCH
from tests.simulation.history import ORGANIZATION
from tests.simulation.programs import MAX_STALENESS_SECONDS
from tests.simulation.system import SKEW_SECONDS, System, Violation

SOURCES = ("192.0.2.1", "192.0.2.2", "198.51.100.7")
_CODES: Final[tuple[Code, ...]] = ("invalid-credential", "invalid-credential", "revoked", "valid")
_HALF_SKEW_US = round(SKEW_SECONDS * 500_000)


class Attempts:
    """Who presents tokens, and whether what they were answered could be so."""

    def __init__(self, system: System, callers: Callers) -> None:
        self._system, self._world, self._callers = system, system.world, callers
        self.answers: list[tuple[Issued, Ask, Verdict]] = []
        """What was asked by whom and answered, but for what a stale node says."""

    def present(self) -> None:
        """Present some token to the node, if it runs."""
        node: VerifierNode | None = self._system.running.get("node")
        process = self._system.slots["node"].current
        if node is None or process is None or not self._system.alive("node") or not self._callers.tokens:
            return
        issued = self._world.random.choice(self._callers.tokens)
        ask = Ask(self._system.clock("node").now(), None, self._world.random.choice(SOURCES))
        verdict = self._world.loop.within(process, lambda: node.verify(issued.token, ask))
        self._world.note(process, "verdict", f"{issued.key_id[-3:]} {issued.secret_id} {verdict.code}")
        self._world.happened[f"verdict {verdict.code}"] += 1
        if verdict.code != "verifier-stale":
            self.answers.append((issued, ask, verdict))
            self._judge(issued, verdict)

    def _judge(self, issued: Issued, verdict: Verdict) -> None:
        fresh_as_of = verdict.fresh_as_of if verdict.code != "invalid-credential" else None
        if fresh_as_of is not None:
            # The claim: everything that the ledger held at that time, by any clock that is right to half the skew.
            held = self._system.database.height_at((fresh_as_of - _HALF_SKEW_US - EPOCH) / 1_000_000)
            if verdict.position < held:
                raise Violation(f"the node claims to be fresh at position {verdict.position}, {held} was committed")
        if not verdict.valid:
            return
        ended = self._ended(issued)
        bound = MAX_STALENESS_SECONDS + SKEW_SECONDS
        if ended is not None and self._world.now() - ended > bound:
            raise Violation(
                f"{issued.key_id} was accepted {self._world.now() - ended:.3f} s after its end was answered, "
                f"at most {bound} s are promised ({true_time(self._world)})"
            )

    def _ended(self, issued: Issued) -> float | None:
        """Return since when this key or secret is refused, as was answered; None where it is not.

        A secret ends with the grace of the rotation after it, at once by one after that or by the end of all graces.
        """
        made = next((order.position for order in self._callers.orders if order.secret_id == issued.secret_id), 0)
        done = [
            order for order in self._callers.orders if order.outcome == "acknowledged" and order.key_id == issued.key_id
        ]
        ends = [order.ended for order in done if order.kind == "revoke"]
        rotations = [order for order in done if order.kind == "rotate" and order.position > made > 0]
        if rotations:
            replaced = min(rotations, key=lambda order: order.position)
            ends.append(replaced.ended + replaced.grace_seconds)
            ends += [
                order.ended
                for order in done
                if order.kind in ("rotate", "finish") and order.position > replaced.position
            ]
        disables = [order for order in done if order.kind == "disable"]
        if disables:
            last = max(disables, key=lambda order: order.position)
            ends += [] if self._may_be_enabled_after(last) else [last.ended]
        return min(ends, default=None)

    def _may_be_enabled_after(self, disable: Order) -> bool:
        return any(
            order.outcome in ("open", "unknown")
            or (order.outcome == "acknowledged" and order.position > disable.position)
            for order in self._callers.orders
            if order.kind == "enable" and order.key_id == disable.key_id
        )

    def make_up(self, edge: str) -> None:
        """Have an edge tell of an attempt that failed, mostly."""
        sink, process = self._system.running.get(edge), self._system.slots[edge].current
        if sink is None or process is None or not self._system.alive(edge):
            return
        random = self._world.random
        code = random.choice(_CODES)
        attempt = AuthAttempt(
            id=sink.next_id(),
            at=self._system.clock(edge).now(),
            node=edge,
            surface="verify",
            code=code,
            source=random.choice(SOURCES),
            organization_id=ORGANIZATION,
        )
        self._world.loop.within(process, lambda: sink.record(attempt))
