import asyncio

import asyncpg


async def until_a_writer_waits_for_the_lock(url: str, *, patience_seconds: float = 10) -> None:
    """Return when some connection to this database waits for another one's lock."""
    connection = await asyncpg.connect(url)
    try:
        async with asyncio.timeout(patience_seconds):
            while not await connection.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            ):
                pass
    finally:
        await connection.close()
