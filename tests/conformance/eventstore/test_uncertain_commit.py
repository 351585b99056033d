import asyncio
from collections.abc import AsyncIterator

import pytest

from keyledger.eventstore.migrating import migrate
from keyledger.eventstore.opening import open_ledger
from keyledger.eventstore.port import Appended, Ledger, LedgerUnavailable, OutcomeUnknown, Replayed
from keyledger.eventstore.verifying import verify_chain
from keyledger.testing.ledger_examples import SteppedClock, a_claim, an_append, an_event, together
from tests.conformance.eventstore.cutting_proxy import CuttingProxy, Fault, Wire, drop_the_answer, drop_the_request
from tests.conformance.eventstore.lock_waits import until_a_writer_waits_for_the_lock

pytestmark = pytest.mark.postgres


class HurriedClock(SteppedClock):
    """Each sleep is over at once, and took its time all the same: patience ends without anybody waiting for it."""

    def __init__(self) -> None:
        super().__init__()
        self.slept = 0.0

    def monotonic(self) -> float:
        return self.slept

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        await asyncio.sleep(0)


@pytest.fixture
async def proxy(postgres_database: str) -> AsyncIterator[CuttingProxy]:
    await migrate(postgres_database)
    async with CuttingProxy(postgres_database) as proxy:
        yield proxy


@pytest.fixture
async def ledger(proxy: CuttingProxy) -> AsyncIterator[Ledger]:
    ledger = await open_ledger(proxy.url, clock=SteppedClock())
    await ledger.append(an_append("before"))
    yield ledger
    await ledger.close()


@pytest.mark.parametrize("fault", [drop_the_answer, drop_the_request])
async def test_a_batch_cut_at_its_commit_is_answered_once_and_written_once(
    ledger: Ledger, proxy: CuttingProxy, fault: Fault
) -> None:
    proxy.faults = iter([fault])
    appends = [an_append(f"stream-{number}", events=(an_event(), an_event())) for number in range(5)]
    outcomes = await together(ledger, *appends)
    assert next(proxy.faults, None) is None, "it was cut"
    assert [(outcome.position, outcome.version) for outcome in outcomes] == [(3, 2), (5, 2), (7, 2), (9, 2), (11, 2)]
    rows = await ledger.read(1, limit=99)
    assert [row.header.append_id for row in rows] == [append.append_id for append in appends for _ in append.events]
    assert (await verify_chain(ledger)).position == 11


@pytest.mark.parametrize("fault", [drop_the_answer, drop_the_request])
async def test_a_command_that_changes_nothing_is_no_replay_of_itself(
    ledger: Ledger, proxy: CuttingProxy, fault: Fault
) -> None:
    proxy.faults = iter([fault])
    unchanged = an_append("before", 1, events=(), idempotency=a_claim())
    assert isinstance(await ledger.append(unchanged), Appended)
    assert next(proxy.faults, None) is None, "it was cut"


@pytest.mark.parametrize("fault", [drop_the_answer, drop_the_request])
async def test_an_append_cut_at_its_commit_has_kept_its_claim(
    ledger: Ledger, proxy: CuttingProxy, fault: Fault
) -> None:
    proxy.faults = iter([fault])
    claim = a_claim()
    appended = await ledger.append(an_append("a", idempotency=claim))
    assert next(proxy.faults, None) is None, "it was cut"
    assert isinstance(appended, Appended)
    assert await ledger.find_replay(claim) == Replayed(claim.status, "a", appended.position, appended.version)


async def test_a_commit_cut_again_and_again_is_pursued(ledger: Ledger, proxy: CuttingProxy) -> None:
    proxy.faults = iter([drop_the_request, drop_the_request, drop_the_answer])
    assert isinstance(await ledger.append(an_append("a")), Appended)
    assert next(proxy.faults, None) is None, "all of them were met"
    assert (await verify_chain(ledger)).position == 2


async def test_a_commit_still_on_its_way_is_waited_for(
    ledger: Ledger, proxy: CuttingProxy, postgres_database: str
) -> None:
    """The old transaction holds the head's lock, so that the retry cannot look before it has ended."""

    async def deliver_late(wire: Wire, data: bytes) -> None:
        wire.cut_client()
        await until_a_writer_waits_for_the_lock(postgres_database)
        await wire.forward(data)

    proxy.faults = iter([deliver_late])
    assert await ledger.append(an_append("a")) == Appended(2, 1, (await ledger.head()).recorded_at)
    assert next(proxy.faults, None) is None, "it was cut"
    assert (await verify_chain(ledger)).position == 2


async def test_a_connection_lost_before_the_commit_costs_nothing(ledger: Ledger, proxy: CuttingProxy) -> None:
    proxy.trigger, proxy.faults = b"FOR UPDATE", iter([drop_the_request])
    assert isinstance(await ledger.append(an_append("a")), Appended)
    assert next(proxy.faults, None) is None, "it was cut"
    assert (await verify_chain(ledger)).position == 2


@pytest.mark.parametrize(("fault", "position"), [(drop_the_answer, 2), (drop_the_request, 1)])
async def test_what_cannot_be_found_out_is_said_to_be_unknown(
    proxy: CuttingProxy, postgres_database: str, fault: Fault, position: int
) -> None:
    async def cut_for_good(wire: Wire, data: bytes) -> None:
        proxy.refuses = True
        await fault(wire, data)

    ledger = await open_ledger(proxy.url, clock=HurriedClock())
    await ledger.append(an_append("before"))
    proxy.faults = iter([cut_for_good])
    append = an_append("a")
    with pytest.raises(OutcomeUnknown):
        await ledger.append(append)
    with pytest.raises(LedgerUnavailable):
        await ledger.append(an_append("b"))
    proxy.refuses = False
    direct = await open_ledger(postgres_database, clock=SteppedClock())
    assert (await verify_chain(direct)).position == position
    again = await ledger.append(append)
    assert isinstance(again, Appended)
    assert again.position == 2, "the same append may be handed in again, and is written once"
    await direct.close()
    await ledger.close()
