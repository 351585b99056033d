"""Given these facts, when this command comes, then that happens: sentences about any aggregate's ``decide``.

Usage::

    keys = Decider(initial=Absent(), decide=decide, evolve=evolve)
    keys.given(created, revoked).when(RotateKey(...)).then_refused(KeyNotFound)

Every command is decided on the fold of what is given, and what it gives is folded too: a fact that its own ``evolve``
refuses would stop every projection.
"""

from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

State = TypeVar("State")
Command = TypeVar("Command")
Event = TypeVar("Event")


class Decider(Generic[State, Command, Event]):
    """The three functions that make an aggregate (after Chassaing's decider)."""

    def __init__(
        self,
        *,
        initial: State,
        decide: Callable[[State, Command], Sequence[Event]],
        evolve: Callable[[State, Event], State],
    ) -> None:
        self._initial, self.decide, self.evolve = initial, decide, evolve

    def given(self, *events: Event) -> "Given[State, Command, Event]":
        """Start from the state that these facts make; from the initial one without any."""
        state = self._initial
        for event in events:
            state = self.evolve(state, event)
        return Given(self, state)


class Given(Generic[State, Command, Event]):
    """A state that a command may come to."""

    def __init__(self, decider: Decider[State, Command, Event], state: State) -> None:
        self._decider, self.state = decider, state

    def when(self, command: Command) -> "Outcome[State, Event]":
        """Decide on the command."""
        try:
            events = list(self._decider.decide(self.state, command))
        except Exception as refusal:  # noqa: BLE001 - whatever it is, then_refused names the kind that was meant
            return Outcome(self.state, [], refusal)
        state = self.state
        for event in events:
            state = self._decider.evolve(state, event)
        return Outcome(state, events, None)

    def then_state(self, expected: State) -> None:
        """Assert what the given facts make."""
        assert self.state == expected, f"the facts make {self.state!r}, not {expected!r}"  # noqa: S101 - a test's verdict


class Outcome(Generic[State, Event]):
    """What a command came to. ``state`` is the one after it."""

    def __init__(self, state: State, events: list[Event], refusal: Exception | None) -> None:
        self.state, self.events, self.refusal = state, events, refusal

    def then(self, *expected: Event) -> "Outcome[State, Event]":
        """Assert that exactly these facts happened, in this order."""
        if self.refusal is not None:
            raise AssertionError(f"the command was refused: {self.refusal!r}") from self.refusal
        assert self.events == list(expected), f"{self.events!r} happened, not {list(expected)!r}"  # noqa: S101 - as above
        return self

    def then_nothing(self) -> None:
        """Assert that the command was accepted and changed nothing."""
        self.then()

    def then_refused(self, kind: type[Exception], **carrying: object) -> None:
        """Assert that the command was refused in this way, and what the refusal carries."""
        refused = isinstance(self.refusal, kind)
        if not refused:
            found = self.refusal or self.events
            raise AssertionError(f"not refused as {kind.__name__}, but {found!r}") from self.refusal
        carried = {name: getattr(self.refusal, name) for name in carrying}
        assert carried == carrying, f"the refusal carries {carried!r}, not {carrying!r}"  # noqa: S101 - as above
