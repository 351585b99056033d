import random

from tests.conformance.eventstore.writers import Writer, written

APPENDS = 20_000
CALLERS = 32
KILLS = 5


async def test_every_answered_append_survives_the_kills_once_and_in_order(database: str) -> None:
    chance = random.Random(20_000)
    answered: dict[str, int] = {}
    kills = 0
    while len(answered) < APPENDS:
        life = await Writer.start(database, f"life{kills}", appends=APPENDS - len(answered), callers=CALLERS)
        life.go()
        if kills < KILLS:
            await life.listen(until=chance.randrange(1_000, 2 * APPENDS // (KILLS + 1) - 1_000))
            await life.kill()
            kills += 1
        else:
            await life.finish()
        answered.update(life.answered)

    rows = await written(database)  # checks the chain: positions without gaps, hashes, versions

    assert kills == KILLS
    where = {append_id: position for position, (append_id, _) in enumerate(rows, start=1)}
    assert len(where) == len(rows), "each once"
    assert answered.items() <= where.items(), "every answered one is where its answer said"
    unanswered = len(rows) - len(answered)
    assert unanswered <= kills * CALLERS, "at most what each caller was waiting for"
