"""What a read model has committed, as its runner knows it, and the one way in which it commits more."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, Generic

from msgspec.structs import replace

from keyledger.contracts import failpoints
from keyledger.projections.folding import Step, fold
from keyledger.projections.port import Checkpoint, Parked, Projection, ReadModel, ReadModelUnavailable, Row
from keyledger.projections.waiters import Waiters

NOTHING: Final[Mapping[str, Parked]] = MappingProxyType({})

_log = logging.getLogger(__name__)


class Committed(Generic[Row]):
    """The checkpoint and the parked streams. Whoever holds ``turn`` writes: who follows the log, or who tries again."""

    def __init__(self, projection: Projection[Row], read_model: ReadModel[Row], waiters: Waiters) -> None:
        self._projection, self._read_model, self._waiters = projection, read_model, waiters
        self.turn = asyncio.Lock()
        self.known = False
        """Whether what became of the last commit is known; ``look`` makes it known."""
        self.checkpoint = Checkpoint()
        self.parked: dict[str, Parked] = {}
        self.unannounced: dict[str, Parked] = {}
        self.something_parked = asyncio.Event()

    @property
    def position(self) -> int:
        """The last position that is committed."""
        return self.checkpoint.position

    async def look(self) -> None:
        """Read it from the read model."""
        self._reached(await self._read_model.checkpoint(), await self._read_model.parked())
        self.known = True

    def must_be_known(self) -> None:
        """Raises ReadModelUnavailable where the last commit may have been carried out although it looks failed.

        To go on from what was before it would look like a zombie.
        """
        if not self.known:
            raise ReadModelUnavailable("what became of the last commit has to be looked up first")

    async def apply(self, store: str, steps: Sequence[Step]) -> None:
        """Fold what comes next, at least one step, and commit it. Raises CheckpointMoved, ReadModelUnavailable."""
        last = steps[-1]
        new = Checkpoint(store, last.header.position, last.hash, last.next_offset)
        async with self.turn:
            self.must_be_known()
            if steps[0].header.position != self.position + 1:
                raise ReadModelUnavailable("the last commit was looked up, and it is not where these events go on")
            await self._commit(new, steps, self.parked)

    async def try_again(self, parked: Mapping[str, Parked], steps: Sequence[Step]) -> None:
        """Fold what has waited behind these marks, which go unless the fold parks it again. Call it in your turn."""
        others = {stream: mark for stream, mark in self.parked.items() if stream not in parked}
        await self._commit(self.checkpoint, steps, others, tried_again=parked)

    async def _commit(
        self,
        new: Checkpoint,
        steps: Sequence[Step],
        parked: dict[str, Parked],
        *,
        tried_again: Mapping[str, Parked] = NOTHING,
    ) -> None:
        self.known = False
        async with self._read_model.transaction() as rows:
            await rows.move_checkpoint(expected=self.checkpoint, new=new)
            failpoints.reach("projection.before_rows")
            loaded = await rows.load({step.header.stream for step in steps if step.wanted})
            folded = fold(self._projection, loaded, steps, parked=parked)
            marks = {stream: _once_more(mark, tried_again.get(stream)) for stream, mark in folded.parked.items()}
            if tried_again:
                await rows.release(tried_again.keys())
            await rows.save(folded.changed)
            if marks:
                await rows.park(marks.values())
            failpoints.reach("projection.before_commit")
        failpoints.reach("projection.after_commit")
        self._reached(new, {**parked, **marks} if marks else parked)
        self.known = True

    def _reached(self, checkpoint: Checkpoint, parked: dict[str, Parked]) -> None:
        self.checkpoint = checkpoint
        self._waiters.advance(checkpoint.position)
        if parked is self.parked:
            return
        for stream, mark in parked.items():
            before = self.parked.get(stream)
            if before is None or before.position != mark.position:
                self.unannounced[stream] = mark
                _log.error(
                    "projection %s parked %s at position %d (%s, version %d): %s",
                    self._projection.name,
                    stream,
                    mark.position,
                    mark.type,
                    mark.version,
                    mark.reason,
                )
        self.parked = parked
        if parked:
            self.something_parked.set()
        else:
            self.something_parked.clear()


def _once_more(mark: Parked, before: Parked | None) -> Parked:
    return mark if before is None else replace(mark, tries=before.tries + 1)
