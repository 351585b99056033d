import random

from tests.conformance.eventstore.writers import Writer, written

APPENDS = 20_000
CALLERS = 32
KILLS = 5


async def test_every_answered_append_survives_the_kills_once_and_in_order(database: str) -> None:
    chance = random.Random(20_000)
    answered: dict[str, int] = {}
    for kill in range(KILLS):
        life = await Writer.start(database, f"life{kill}", appends=1_000_000, callers=CALLERS)
        life.go()
        await life.until_answered(chance.randrange(1_000, 4_000))
        await life.kill()
        answered |= life.answered
    last = await Writer.start(database, "last", appends=max(APPENDS - len(answered), 1_000), callers=CALLERS)
    last.go()
    await last.finish()
    answered |= last.answered

    rows = await written(database)  # checks the chain: positions without gaps, hashes, versions

    where = {append_id: position for position, (append_id, _) in enumerate(rows, start=1)}
    assert len(where) == len(rows), "each once"
    assert answered.items() <= where.items(), "every answered one is where its answer said"
    unanswered = len(rows) - len(answered)
    assert unanswered <= KILLS * CALLERS, "at most what each caller was waiting for"
