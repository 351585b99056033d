"""A secret stands nowhere, in no form, not even where its own holder put it by mistake."""

import asyncio
import base64
import hashlib
import secrets
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import asyncpg
import httpx2
import pytest

from keyledger.contracts.topics import DAY_MS, Topic
from keyledger.domain.identifiers import decode_base62
from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.port import NewRecord
from keyledger.verification.token import mint
from tests.e2e.profiles import Distributed, Embedded, running
from tests.security.misplacing import SECRET, Misplacer
from tests.security.scanning import Found, Place, Secret, files, find, kafka_records, postgres_rows, sqlite_rows

pytestmark = pytest.mark.xdist_group("e2e")

DROP_ALERTS = """
DO $$ DECLARE served text; BEGIN
  FOR served IN SELECT tablename FROM pg_tables WHERE schemaname = 'anomalies' AND tablename LIKE 'alerts%' LOOP
    EXECUTE format('DROP TABLE anomalies.%I', served);
  END LOOP;
END $$
"""
DEBUG = {"KEYLEDGER_LOG_LEVEL": "debug"}


@dataclass
class Left:
    """What a Keyledger left behind, the secrets it was given, and the leaks that were planted."""

    secrets: list[Secret] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    planted: dict[str, Secret] = field(default_factory=dict)

    def plant(self, kind: str) -> str:
        """Return a new secret that somebody is about to leak in this kind of place."""
        text = secrets.token_hex(16)
        self.planted[kind] = Secret(kind, text)
        return text

    @cached_property
    def found(self) -> list[Found]:
        """Where any of them stands: everything is gone through once, for all tests."""
        return find([*self.secrets, *self.planted.values()], self.places)

    def standing(self) -> set[tuple[str, str]]:
        """Return each place where a secret stands that nobody leaked on purpose, and the secret's name."""
        return {(each.place, each.secret) for each in self.found if each.secret not in self.planted}


def of_token(name: str, token: str) -> Secret:
    digits = token[SECRET]
    return Secret(name, digits, value=decode_base62(digits).to_bytes(20), within=token)


def of_master(folder: Path) -> Secret:
    master = (folder / "pepper").read_text(encoding="ascii").strip()
    return Secret("master", master, value=bytes.fromhex(master))


def use(origin: str, root: str, left: Left, breakages: Iterable[Callable[[], None]]) -> None:
    """Mint keys, and send their tokens everywhere: while all is well, and after each breakage."""
    with httpx2.Client(base_url=origin, headers={"Authorization": f"Bearer {root}"}, timeout=120) as client:

        def made(path: str, **fields: object) -> dict[str, str]:
            headers = {"Idempotency-Key": secrets.token_hex(8)}
            first = client.post(path, json=fields, headers=headers)
            again = client.post(path, json=fields, headers=headers)
            assert again.headers["Idempotency-Replayed"] == "true"
            left.places.append(("a replay", again.content))
            document: dict[str, str] = first.json()
            return document

        keys = {name: made("/v1/api-keys", name=name) for name in ("live", "rotated", "revoked")}
        keys["its successor"] = made(f"/v1/api-keys/{keys['rotated']['id']}/rotate")
        assert client.delete(f"/v1/api-keys/{keys['revoked']['id']}").is_success
    tokens = {name: key["key"] for name, key in keys.items()}
    left.secrets += [of_token("root", root), *(of_token(name, token) for name, token in tokens.items())]

    def answers(name: str) -> list[bytes]:
        misplacer = Misplacer(origin, root, tokens[name])
        misplacer.as_credential()
        if name == "live":
            misplacer.everywhere()
        misplacer.close()
        return misplacer.answers

    with ThreadPoolExecutor(len(tokens)) as at_once:  # where a server is away, each waits for its own time limit
        for breakage in (lambda: None, *breakages):
            breakage()
            left.places += [("an answer", answer) for each in at_once.map(answers, tokens) for answer in each]


def metrics(origins: Iterable[str]) -> Iterator[Place]:
    for origin in origins:
        yield f"metrics of {origin}", httpx2.get(f"{origin}/metrics", timeout=120).content


@pytest.fixture(scope="module")
def embedded_left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder, left = tmp_path_factory.mktemp("embedded"), Left()
    with running(Embedded, folder, **DEBUG) as keyledger:

        def lose_a_table() -> None:
            with sqlite3.connect(keyledger.data_dir / "alerts.db", isolation_level=None) as connection:
                connection.execute("CREATE TABLE leaking AS SELECT ? AS leak", (left.plant("a row"),))
                served = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'alerts%'"
                for (table,) in connection.execute(served).fetchall():
                    connection.execute(f"DROP TABLE {table}")
            connection.close()

        use(keyledger.origin, keyledger.root_key(), left, [lose_a_table])
        left.secrets.append(of_master(keyledger.data_dir))
        left.places += metrics([keyledger.origin])
        with (folder / "serve.log").open("a", encoding="utf-8") as log:
            log.write(f"request failed token={left.plant('a log line')}\n")
    left.places += [*sqlite_rows(folder), *files(folder)]
    left.places.append(("metrics, once more", f"keyledger_leak 1.0 {left.plant('metrics')}".encode()))
    return left


@pytest.fixture(scope="module")
def distributed_left(tmp_path_factory: pytest.TempPathFactory) -> Left:
    folder, left = tmp_path_factory.mktemp("distributed"), Left()
    with running(Distributed, folder, **DEBUG) as keyledger:
        cluster = keyledger.cluster
        password = (cluster.folder / "postgres" / "postgres" / "password").read_text(encoding="utf-8")
        url = f"postgresql://keyledger:{password}@127.0.0.1:{cluster.postgres_port}/keyledger"
        left.secrets += [of_master(keyledger.data_dir), Secret("database password", password)]

        def lose_a_table() -> None:
            # Last, while everything still answers: what the servers hold is looked at as they give it.
            asyncio.run(_plant(url, keyledger.kafka_bootstrap, left))
            left.places.extend(asyncio.run(_rows_and_records(url, keyledger.kafka_bootstrap)))
            asyncio.run(_execute(url, DROP_ALERTS))

        def lose(name: str) -> Callable[[], None]:
            def stop() -> None:
                for process in cluster.state.processes():
                    if process.name.startswith(name):
                        process.stop()

            return stop

        breakages = [lose_a_table, lose("directory"), lose("kafka"), lose("postgres")]
        use(keyledger.origin, keyledger.root_key(), left, breakages)
        left.places += metrics(
            f"http://127.0.0.1:{port}" for name, port in cluster.service_ports.items() if name != "directory"
        )
        with (cluster.folder / "logs" / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"request failed token={left.plant('a log line')}\n")
    left.places += files(folder)
    return left


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def _plant(url: str, bootstrap: str, left: Left) -> None:
    long = left.plant("a long row") + "x" * 100_000
    await _execute(
        url,
        f"CREATE TABLE leaking AS SELECT '{left.plant('a row')}'::text AS leak",
        f"CREATE TABLE leaking_much AS SELECT '{long}'::text AS leak",
        f"DO $$ BEGIN RAISE LOG 'failed on {left.plant('a line of the database')}'; END $$",
        "CHECKPOINT",
    )
    log = KafkaLog(bootstrap)
    producer = await log.producer()
    await log.ensure_topics([Topic("leaking", 1, DAY_MS, "a leak, to be found")])
    await producer.send("leaking", 0, [NewRecord(b"", b"", (("leak", left.plant("a record").encode()),))])
    await producer.close()
    await log.close()


async def _rows_and_records(url: str, bootstrap: str) -> list[Place]:
    return [place async for place in postgres_rows(url)] + [place async for place in kafka_records(bootstrap)]


def test_one_process_leaves_a_secret_nowhere(embedded_left: Left) -> None:
    allowed = {("data/root.key", "root"), ("data/pepper", "master")}
    assert embedded_left.standing() == allowed, embedded_left.found


def test_the_distributed_profile_leaves_a_secret_nowhere(distributed_left: Left) -> None:
    allowed = {
        ("data/root.key", "root"),
        ("data/pepper", "master"),
        ("data/cluster/postgres/postgres/password", "database password"),
    }
    assert distributed_left.standing() == allowed, distributed_left.found


IN_ONE_PROCESS = {
    "a row": ["rows of alerts.db leaking", "data/alerts.db"],
    "a log line": ["serve.log"],
    "metrics": ["metrics, once more"],
}
IN_THE_DISTRIBUTED_PROFILE = {
    "a row": ["rows of public.leaking", "/base/", "/pg_wal/"],
    "a long row": ["rows of public.leaking_much"],
    "a line of the database": ["postgres.log"],
    "a record": ["records of leaking", "/leaking-0/"],
    "a log line": ["logs/commands.log"],
}


@pytest.mark.parametrize("kind", IN_ONE_PROCESS)
def test_a_leak_that_was_planted_in_one_process_is_found(embedded_left: Left, kind: str) -> None:
    assert _stands_in(IN_ONE_PROCESS[kind], embedded_left, kind)


@pytest.mark.parametrize("kind", IN_THE_DISTRIBUTED_PROFILE)
def test_a_leak_that_was_planted_in_the_distributed_profile_is_found(distributed_left: Left, kind: str) -> None:
    assert _stands_in(IN_THE_DISTRIBUTED_PROFILE[kind], distributed_left, kind)


def _stands_in(places: list[str], left: Left, kind: str) -> bool:
    found = {each.place for each in left.found if each.secret == kind}
    return all(any(place in where for where in found) for place in places)


TOKEN = mint("dev", "key_0123456789abcdefghijkl", bytes(range(80, 100)))
DIGITS = TOKEN[SECRET]
WRITTEN = {
    "as it is": f"Authorization: Bearer {TOKEN}".encode(),
    "cut off at its end": f"{TOKEN[:46]}...".encode(),
    "cut off at its beginning": f"...{DIGITS[10:]}".encode(),
    "reversed": TOKEN.encode()[::-1],
    "in base64": base64.b64encode(f"key:{TOKEN}".encode()),
    "in base64, elsewhere in it": base64.b64encode(f"ke:{TOKEN}".encode()),
    "in URL-safe base64": base64.urlsafe_b64encode(b"k:" + DIGITS.encode()),
    "in hexadecimal": TOKEN.encode().hex().encode(),
    "in UTF-16": f"Bearer {TOKEN}".encode("utf-16-le"),
    "percent-encoded": "".join(f"%{byte:02X}" for byte in TOKEN.encode()).encode(),
    "as its bytes": b"blob:" + bytes(range(80, 100)),
    "as its bytes in base64": base64.b64encode(b"blob:" + bytes(range(80, 100))),
    "as a plain digest": hashlib.sha256(TOKEN.encode()).hexdigest().encode(),
    "as a plain digest of the secret": hashlib.sha1(DIGITS.encode()).digest(),  # noqa: S324 - what is looked for
}


@pytest.mark.parametrize("form", WRITTEN)
def test_a_secret_is_found_in_every_form(form: str) -> None:
    assert find([of_token("token", TOKEN)], [("here", b"before " + WRITTEN[form] + b" behind")])
    assert not find([of_token("another", mint("dev", "key_0123456789abcdefghijkl", bytes(20)))], [("h", WRITTEN[form])])
