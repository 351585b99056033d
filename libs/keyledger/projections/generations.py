"""Which generation of a read model a program serves, and which one it builds, wherever they are kept."""

from collections.abc import Sequence

from keyledger.projections.port import Generation


def own_generation(held: Sequence[Generation], serving: Generation | None, number: int) -> Generation:
    """Return the generation that a program of this number is to serve: what serves, if it is the program's own.

    Else the newest of its own, to be gone on with beside what serves; or its first. ``held``: the oldest first.
    """
    if serving is not None and serving.number == number:
        return serving
    own = [one for one in held if one.number == number]
    return own[-1] if own else Generation(number)


def generation_to_build(held: Sequence[Generation], serving: Generation | None, number: int) -> Generation:
    """Return the generation that is to be built anew: the one that was begun, or a next one. ``held``: as above."""
    own = [one for one in held if one.number == number]
    begun = [one for one in own if one != serving]
    if begun:
        return begun[-1]
    return Generation(number, own[-1].build + 1 if own else 0)
