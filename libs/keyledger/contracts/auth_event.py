"""Verification attempts as they travel: many in one record, each under the same id on both topics."""

from functools import lru_cache
from ipaddress import IPv6Network
from typing import Final, Literal
from zlib import crc32

import msgspec
from msgspec import Struct

from keyledger.contracts.verdict import Code

MAX_RECORD_BYTES: Final = 256 * 1024
RECORD_TYPE: Final = "AuthAttempts"

Surface = Literal["verify", "management"]


class AuthAttempt(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One attempt, whatever its outcome. ``at`` is in microseconds.

    ``organization_id`` is the key's, else that of the verifier's binding, else None: then it concerns the operator.
    ``fingerprint`` stands for a token whose key is unknown: keyed, so that it cannot be searched for backwards.
    """

    id: str
    at: int
    node: str
    surface: Surface
    code: Code
    source: str
    organization_id: str | None = None
    key_id: str | None = None
    secret_id: str | None = None
    fingerprint: str | None = None
    environment: str | None = None
    request_id: str | None = None
    permission: str | None = None


decode_attempts: Final = msgspec.json.Decoder(list[AuthAttempt]).decode


@lru_cache(maxsize=8192)
def neighbourhood(source: str) -> str:
    """Return what attempts from a source are counted under: an IPv4 address itself, of an IPv6 address its /64.

    Whoever has one address of a /64 has all of them (RFC 6177, RFC 7421), and could try each key from another one.
    """
    if ":" not in source:
        return source
    try:
        return str(IPv6Network((source.partition("%")[0], 64), strict=False))
    except ValueError:  # a node that names its sources otherwise must not stop those who count
        return source


def partition_of(text: str, partitions: int) -> int:
    """Return the partition for a key id, fingerprint or source's neighbourhood: CRC-32 of its UTF-8 bytes, modulo."""
    return crc32(text.encode()) % partitions


def record_id(node: str, boot: str, partition: int, number: int) -> str:
    """Return the CloudEvents id of a record. ``number`` counts 1, 2, 3 ... per node, boot and partition of a topic."""
    return f"{node}.{boot}.{partition}.{number}"
