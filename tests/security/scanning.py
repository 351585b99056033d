"""A search for secrets in every byte that a Keyledger leaves behind, in all the forms they could have been written."""

import base64
import hashlib
import os
import re
import sqlite3
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient

DIGESTS: Final = ("md5", "sha1", "sha256", "sha512")
EMPTY: Final = re.compile(rb"\0\0{4095,}")
"""Files are made large in advance, full of zeros. A pattern that begins with one plain byte is looked for faster."""

Place = tuple[str, bytes]
"""Where the bytes were found, for people, and the bytes."""


@dataclass(frozen=True, order=True)
class Found:
    """A secret that stands where it must not."""

    place: str
    secret: str
    form: str


class Secret:
    """A secret by its name, and what to look for.

    Args:
        name: for people; never the secret.
        text: as its holder writes it.
        value: the bytes that the text spells, where it spells any.
        within: what the text is a part of; a digest of the whole would tell a guesser as much.
    """

    def __init__(self, name: str, text: str, *, value: bytes = b"", within: str = "") -> None:
        self.name = name
        raw = text.encode()
        self.forms = {**_forms(raw), **_digests(raw), "its beginning": raw[:13], "its end": raw[-13:]}
        if value:
            spelt = {**_forms(value), **_digests(value)}
            self.forms |= {f"its value, {form}": written for form, written in spelt.items()}
        if within:
            self.forms |= {f"the whole, {form}": written for form, written in _digests(within.encode()).items()}

    def __repr__(self) -> str:
        return f"Secret({self.name!r})"


def find(secrets: Iterable[Secret], places: Iterable[Place]) -> list[Found]:
    """Return every place where any form of any of the secrets stands."""
    wanted = {written: (secret.name, form) for secret in secrets for form, written in secret.forms.items()}
    alike = defaultdict[bytes, list[str]](list)  # a database begins as the copy of another one
    for place, content in places:
        alike[EMPTY.sub(b"\0", content)].append(place)
    found = set[Found]()
    for content, names in alike.items():
        standing = [named for written, named in wanted.items() if written in content]
        found |= {Found(place, *named) for named in standing for place in names}
    return sorted(found)


def files(folder: Path) -> Iterator[Place]:
    """Every file below the folder, whole; followed where a link leads."""
    for parent, _, names in os.walk(folder, followlinks=True):
        for path in (Path(parent, name) for name in sorted(names)):
            with suppress(FileNotFoundError):  # a server of ours deleted it meanwhile
                yield str(path.relative_to(folder)), path.read_bytes()


def sqlite_rows(folder: Path) -> Iterator[Place]:
    """Every row of every SQLite file below the folder: a long value lies in a file in pieces."""
    for path in sorted(folder.rglob("*.db")):
        connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            tables = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()
            for (table,) in tables:
                rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()  # noqa: S608 - names from the schema
                yield f"rows of {path.name} {table}", b"\n".join(map(_cells, rows))
        finally:
            connection.close()


async def postgres_rows(url: str) -> AsyncIterator[Place]:
    """Every row of every table as Postgres gives it: a long value lies in its files compressed."""
    connection = await asyncpg.connect(url)
    try:
        tables = await connection.fetch(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        for schema, table in tables:
            rows = await connection.fetch(f'SELECT * FROM "{schema}"."{table}"')  # noqa: S608 - names from the catalogue
            yield f"rows of {schema}.{table}", b"\n".join(_cells(tuple(row)) for row in rows)
    finally:
        await connection.close()


async def kafka_records(bootstrap: str) -> AsyncIterator[Place]:
    """Every record of every topic as a consumer gets it: a batch may lie in its segment compressed."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")
    await admin.start()
    await consumer.start()
    try:
        for described in await admin.describe_topics():
            topic = described["topic"]
            places = [TopicPartition(topic, one["partition"]) for one in described["partitions"]]
            ends = await consumer.end_offsets(places)
            consumer.assign(places)
            await consumer.seek_to_beginning(*places)
            said = list[bytes]()
            while any([await consumer.position(place) < ends[place] for place in places]):
                for records in (await consumer.getmany(timeout_ms=1000)).values():
                    for record in records:
                        said += [record.key or b"", record.value or b""]
                        said += [name.encode() + b"=" + value for name, value in record.headers]
            yield f"records of {topic}", b"\n".join(said)
    finally:
        await consumer.stop()
        await admin.close()


def _forms(raw: bytes) -> Mapping[str, bytes]:
    forms = {
        "plain": raw,
        "reversed": raw[::-1],
        "hexadecimal": raw.hex().encode(),
        "HEXADECIMAL": raw.hex().upper().encode(),
        "percent-encoded": "".join(f"%{byte:02X}" for byte in raw).encode(),
        "URL-encoded": quote(raw, safe="").encode(),
        "UTF-16": b"".join(bytes([byte, 0]) for byte in raw),
    }
    for before in range(3):
        standard = _base64(raw, before)
        forms[f"base64 behind {before} bytes"] = standard
        forms[f"URL-safe base64 behind {before} bytes"] = standard.translate(bytes.maketrans(b"+/", b"-_"))
    return forms


def _digests(raw: bytes) -> Mapping[str, bytes]:
    made = {name: hashlib.new(name, raw).digest() for name in DIGESTS}
    return made | {f"{name}, hexadecimal": digest.hex().encode() for name, digest in made.items()}


def _base64(raw: bytes, before: int) -> bytes:
    """What base64 makes of these bytes whatever stands before and behind them: the letters that they alone decide."""
    written = base64.b64encode(bytes(before) + raw)
    known_bits = 8 * (before + len(raw))
    return written[-(-8 * before // 6) : known_bits // 6]


def _cells(row: tuple[object, ...]) -> bytes:
    return b"\t".join(cell if isinstance(cell, bytes) else str(cell).encode() for cell in row)
