"""The first start: an organization, its roles, an administrator and the root key, in a file that nobody else can read.

Each later start defines the built-in roles anew where a newer version of the program has changed them.

Every id is derived: whoever starts, however often, and whoever else starts at the same time, aims at the same streams,
and the ledger lets each be begun once. So a start that was killed anywhere is simply gone on with. The file is written
before the key: the key then gets the secret that stands there. The root key's id follows from the master and not from
the ledger: so a second ledger under the same data folder (``make run`` beside ``make cluster``) is opened by that file.
"""

import hmac
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

import structlog

from keyledger.contracts.ports import Clock, Randomness
from keyledger.contracts.registry import encode
from keyledger.domain.events import Event, KeyCreated, KeyRotated, Secret
from keyledger.domain.identifiers import Kind, resource_id, role_stream
from keyledger.domain.keys import Absent, CreateKey, decide
from keyledger.domain.organizations import FoundOrganization, builtin_roles, seed
from keyledger.domain.times import moment
from keyledger.eventstore.port import Append, CheckpointMoved, Ledger, Profile, VersionConflict
from keyledger.runtime.masters import FILE_NAME as PEPPER_FILE
from keyledger.runtime.masters import write_once
from keyledger.runtime.settings import InvalidSettings
from keyledger.verification.peppers import Peppers, digest
from keyledger.verification.token import Token, parse
from keyledger_commands.issuing import Issuer
from keyledger_commands.streams import Stream, Streams

FILE_NAME: Final = "root.key"
ORGANIZATION_NAME: Final = "Keyledger"
ADMINISTRATOR_NAME: Final = "Administrator"
KEY_NAME: Final = "root key"
_REQUEST_ID: Final = "bootstrap"
_DONE: Final = "bootstrap"
"""The ledger's checkpoint that is 1 once the root key was made."""
_MASTER: Final = "master"
"""The ledger's checkpoint that holds the id of the first master, as a number."""

log = structlog.get_logger(__name__)


def first_id(kind: Kind, seed_hex: str) -> str:
    """Return the id of the first thing of a kind, as the seed says: a UUIDv7 of the year 1970, so that it sorts first.

    It is no secret, and need not be: what nobody can guess is the root key's secret.
    """
    number = int.from_bytes(sha256(f"keyledger first {kind} of {seed_hex}".encode()).digest()[:16])
    number &= (1 << 80) - 1  # 48 bits of time: zero
    number = number & ~(0xF << 76) | 0x7 << 76  # version
    number = number & ~(0x3 << 62) | 0x2 << 62  # variant
    return resource_id(kind, number)


def root_key_id(peppers: Peppers) -> str:
    """Return the id of the root key of every ledger under these masters."""
    return first_id("key", peppers.derived("keyledger root key id").hex())


async def bootstrap(
    ledger: Ledger, peppers: Peppers, randomness: Randomness, clock: Clock, data_dir: Path
) -> Path | None:
    """See to it that the ledger has its first organization, and return the root key's file if that was completed now.

    A ledger that has its root key is left alone: the file may have been moved to a safe place.

    Raises:
        InvalidSettings: ``root.key`` in the data folder is another key's, or the master is not this ledger's.
        LedgerError
    """
    return await _Bootstrap(ledger, peppers, randomness, clock, data_dir / FILE_NAME).complete()


class _Bootstrap:
    """One start of one process."""

    def __init__(self, ledger: Ledger, peppers: Peppers, randomness: Randomness, clock: Clock, file: Path) -> None:
        self._ledger, self._peppers, self._randomness, self._clock = ledger, peppers, randomness, clock
        self._streams, self._issuer = Streams(ledger, clock), Issuer(peppers, randomness)
        self._file = file
        self._organization_id = first_id("org", ledger.store_id)
        self._user_id = first_id("user", ledger.store_id)
        self._key_id = root_key_id(peppers)

    async def complete(self) -> Path | None:
        await self._check_master()
        root = (await self._streams.load([self._key_id]))[self._key_id]
        await self._renew_builtin_roles()
        if root.version:
            await self._remember()
            self._warn_of_another(root)
            return None
        if await self._ledger.checkpoint(_DONE):  # under a master that is not the first one any more
            return None
        await self._seed()
        # The file comes before the key: a key whose secret was lost with this process would be a door for nobody.
        written_now = write_once(self._file, self._issuer.mint("dev", self._key_id))
        token = self._read_file()
        if token is None or token[1].key_id != self._key_id:
            raise InvalidSettings(f"{self._file} is not this installation's root key: move it away")
        won = await self._begin(self._key_id, self._root_key(token[0]))
        await self._remember()
        if won:
            return self._file
        root = (await self._streams.load([self._key_id]))[self._key_id]
        if written_now and not self._opens(root, token[1]):
            self._file.unlink(missing_ok=True)
            log.warning("another process made the root key: look for root.key in its data folder")
        return None

    async def _check_master(self) -> None:
        """Note which master this ledger's newest secrets are under, and refuse to go on without it.

        Under another one every key would be refused, and the keys made meanwhile would be lost with the right one.
        """
        noted, current = await self._ledger.checkpoint(_MASTER), int(self._peppers.current_id, 16)
        if noted and f"{noted:012x}" not in self._peppers.ids:
            raise InvalidSettings(
                "KEYLEDGER_PEPPER: none of the masters is the one that this ledger's keys were made under: put it back "
                f"(setting, or {PEPPER_FILE} in the data folder); without it no key can be verified"
            )
        if noted != current:
            with suppress(CheckpointMoved):  # another process that starts now notes the same
                await self._ledger.move_checkpoint(_MASTER, expected=noted, new=current)

    async def _remember(self) -> None:
        """Note in the ledger that this is done, so that another master does not make a second root key."""
        with suppress(CheckpointMoved):
            await self._ledger.move_checkpoint(_DONE, expected=0, new=1)

    async def _renew_builtin_roles(self) -> None:
        """Define the built-in roles anew where this version has others; at a first start none is there yet."""
        events = {
            role_stream(self._organization_id, event.role): event for event in builtin_roles(self._organization_id)
        }
        for name, held in (await self._streams.load(events)).items():
            if held.version and held.events[-1] != events[name]:
                await self._write(name, held.version, [events[name]])

    async def _seed(self) -> None:
        command = FoundOrganization(
            organization_id=self._organization_id,
            name=ORGANIZATION_NAME,
            operator=True,
            administrator_id=self._user_id,
        )
        profile = Profile(self._user_id, ADMINISTRATOR_NAME, None)
        for stream, event in seed(command):
            await self._begin(stream, [event], profile if stream == self._user_id else None)

    def _root_key(self, token_text: str) -> Sequence[Event]:
        command = CreateKey(
            organization_id=self._organization_id,
            key_id=self._key_id,
            type="personal",
            owner_id=self._user_id,
            name=KEY_NAME,
            description="Made at the first start",
            role=None,
            environment="dev",
            expires_at=None,
            secret=self._issuer.kept(self._organization_id, token_text),
            at=moment(self._clock.now()),
        )
        return decide(Absent(), command)

    async def _begin(self, stream: str, events: Sequence[Event], profile: Profile | None = None) -> bool:
        """Write the first events of a stream; False where somebody, perhaps an earlier start, has begun it."""
        return await self._write(stream, 0, events, profile)

    async def _write(self, stream: str, version: int, events: Sequence[Event], profile: Profile | None = None) -> bool:
        """Write events behind a version; False where somebody was faster."""
        append = Append(
            append_id=self._randomness.token_hex(16),
            organization_id=self._organization_id,
            stream=stream,
            expected_version=version,
            events=tuple(encode(event) for event in events),
            request_id=_REQUEST_ID,
            profile=profile,
        )
        try:
            await self._ledger.append(append)
        except VersionConflict:
            return False
        return True

    def _read_file(self) -> tuple[str, Token] | None:
        try:
            text = self._file.read_text(encoding="ascii").strip()
        except (FileNotFoundError, UnicodeDecodeError):
            return None
        token = parse(text)
        return None if token is None else (text, token)

    def _warn_of_another(self, root: Stream) -> None:
        """Say so where the file never opened this ledger; it may open another one, so it is left where it is."""
        found = self._read_file()
        if found is not None and found[1].key_id == self._key_id and not self._opens(root, found[1]):
            log.warning("root.key does not open this ledger: it was made for another one", file=str(self._file))

    def _opens(self, root: Stream, token: Token) -> bool:
        """Say whether the token's secret is, or once was, the root key's."""
        secrets = [fact.event.secret for fact in root.facts if isinstance(fact.event, KeyCreated | KeyRotated)]
        return any(self._is_of(secret, token) for secret in secrets)

    def _is_of(self, secret: Secret, token: Token) -> bool:
        pepper = self._peppers.pepper(secret.pepper, self._organization_id)
        if pepper is None:  # its master is retired: nothing can be said of it
            return True
        return hmac.compare_digest(digest(pepper, token.secret), secret.digest)
