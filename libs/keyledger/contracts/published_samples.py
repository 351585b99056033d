"""One record of every published form as it goes over the wire: the examples of the AsyncAPI document."""

from typing import Final, assert_never

import msgspec

from keyledger.contracts.alert import RECORD_TYPE as ALERT
from keyledger.contracts.alert import Alert
from keyledger.contracts.auth_event import RECORD_TYPE as AUTH_ATTEMPTS
from keyledger.contracts.auth_event import AuthAttempt, record_id
from keyledger.contracts.cloudevents import Headers, attributes, ledger_source, published_record
from keyledger.contracts.envelope import FIRST_PREV_HASH, Header, seal
from keyledger.contracts.freshness import HEAD_TYPE, REPORT_TYPE, Head, VerifierReport
from keyledger.contracts.registry import EncodedEvent, encode
from keyledger.contracts.samples import KEY_ID, ORGANIZATION_ID, SAMPLES, USER_ID
from keyledger.domain.events import (
    Event,
    KeyEvent,
    OrganizationCreated,
    RoleClosed,
    RoleDefined,
    RoleDeleted,
    ServiceAccountCreated,
    TeamCreated,
    UserCreated,
    UserDeactivated,
    UserReactivated,
)
from keyledger.domain.identifiers import role_stream

_STORE: Final = "5f0c3a52d8a14c6c8b9f6a3d1e2b4c5d"
_NODE: Final = "eu-west-1a"
_BOOT: Final = "9f86d081884c7d65"
_AT: Final = 1_793_000_000_000_000
_ATTEMPT: Final = AuthAttempt(
    id=f"{_BOOT}.17",
    at=_AT,
    node=_NODE,
    surface="verify",
    code="revoked",
    source="192.0.2.17",
    organization_id=ORGANIZATION_ID,
    key_id=KEY_ID,
    secret_id="s2",  # noqa: S106 - the secret's id, not the secret
    environment="dev",
    request_id="req_0123456789abcdef01234567",
)
_ALERT: Final = Alert(
    id="alert_01hXk3fJ7Qf0hY0aEw7QrT",
    rule="failed-burst",
    severity="medium",
    title="10 failed attempts from 192.0.2.17 within 10 minutes",
    organization_id=ORGANIZATION_ID,
    subject="192.0.2.17",
    first_seen=_AT - 60_000_000,
    last_seen=_AT,
    count=10,
    attempt_ids=tuple(f"{_BOOT}.{n}" for n in range(8, 18)),
)
_REPORT: Final = VerifierReport(
    node=_NODE,
    boot=_BOOT,
    version="0.1.0",
    organizations=(),
    environments=("dev", "staging", "prod"),
    on_stale="refuse",
    position=9,
    fresh_as_of=_AT,
    at=_AT,
)

Record = tuple[Headers, bytes]


def published_samples() -> dict[tuple[str, int], Record]:
    """Return headers and data of one record of each form that is written today, by type and version."""
    facts = [(encode(event), stream_of(event)) for event in SAMPLES]
    private = EncodedEvent("SomethingPrivate", 1, may_ignore=True, data=b"{}")
    records = {
        (encoded.type, encoded.schema_version): _fact(position, encoded, stream)
        for position, (encoded, stream) in enumerate(facts, start=1)
    }
    node = f"/keyledger/verifiers/{_NODE}"
    return records | {
        ("Withheld", 1): _fact(len(facts) + 1, private, ORGANIZATION_ID),
        (ALERT, 1): (
            attributes(
                type=ALERT,
                id=_ALERT.id,
                source="/keyledger/anomalies",
                time=_ALERT.last_seen,
                subject=_ALERT.subject,
                organizationid=_ALERT.organization_id,
            ),
            msgspec.json.encode(_ALERT),
        ),
        (AUTH_ATTEMPTS, 1): (
            attributes(type=AUTH_ATTEMPTS, id=record_id(_NODE, _BOOT, 0, 5), source=node, time=_AT),
            msgspec.json.encode([_ATTEMPT]),
        ),
        (HEAD_TYPE, 1): (
            attributes(type=HEAD_TYPE, id=f"9.{_AT}", source=ledger_source(_STORE), time=_AT),
            msgspec.json.encode(Head(store=_STORE, position=9, at=_AT)),
        ),
        (REPORT_TYPE, 1): (
            attributes(type=REPORT_TYPE, id=f"{_NODE}.{_BOOT}.3", source=node, time=_AT),
            msgspec.json.encode(_REPORT),
        ),
    }


def _fact(position: int, encoded: EncodedEvent, stream: str) -> Record:
    header = Header(
        position=position,
        organization_id=ORGANIZATION_ID,
        stream=stream,
        version=1,
        type=encoded.type,
        schema_version=encoded.schema_version,
        may_ignore=encoded.may_ignore,
        recorded_at=_AT + position,
        actor_user=USER_ID,
        actor_key=KEY_ID,
        request_id="req_0123456789abcdef01234567",
        append_id="0123456789abcdef",
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    )
    return published_record(seal(header, encoded.data, FIRST_PREV_HASH), _STORE)


def stream_of(event: Event) -> str:
    """Return the name of the stream that the event belongs to."""
    if isinstance(event, KeyEvent):
        return event.key_id
    match event:
        case OrganizationCreated():
            return event.organization_id
        case RoleDefined() | RoleClosed() | RoleDeleted():
            return role_stream(event.organization_id, event.role)
        case UserCreated() | UserDeactivated() | UserReactivated():
            return event.user_id
        case TeamCreated():
            return event.team_id
        case ServiceAccountCreated():
            return event.service_account_id
        case _:
            assert_never(event)
