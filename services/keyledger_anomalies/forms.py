"""What the alerts' route is asked, and what it answers."""

from datetime import datetime
from typing import Any, Final

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from keyledger.contracts.alert import Alert, Severity
from keyledger.domain.times import moment

EXAMPLE_CURSOR: Final = "q1vZ0m8hT5b2dJ7wXk3LsDE3MzIx"
EXAMPLE_ALERT: Final[dict[str, Any]] = {
    "id": "alert_21dox3bQ76BQGYtA2rQDPb",
    "rule": "failed-burst",
    "severity": "medium",
    "title": "5 failed attempts from 192.0.2.1 within 10 minutes",
    "organization_id": "org_01hXk3fJ7Qb4dU6wAs3MnP",
    "subject": "192.0.2.1",
    "first_seen": "2026-01-02T03:04:05Z",
    "last_seen": "2026-01-02T03:08:05Z",
    "count": 5,
    "attempt_ids": ["n1.b1.17.0", "n1.b1.17.1", "n1.b1.18.0", "n1.b1.18.4", "n1.b1.20.0"],
}


class AlertQuery(BaseModel):
    """Which alerts, and which page of them. Unknown parameters are refused: a misspelt filter would show everything."""

    model_config = ConfigDict(extra="forbid")

    rule: str | None = Field(default=None, max_length=64, pattern=r"^[a-z0-9-]+$", description="Only of this rule")
    since: AwareDatetime | None = Field(default=None, description="Only those last seen at or after this time")
    limit: int = Field(default=50, ge=1, le=200, description="The most alerts in one page")
    cursor: str | None = Field(
        default=None, max_length=1000, description="The `next_cursor` of the page before, with the same filters"
    )


class AlertResource(BaseModel):
    """One alert: who did what, when, and the attempts that say so."""

    model_config = ConfigDict(json_schema_extra={"examples": [EXAMPLE_ALERT]})

    id: str
    rule: str
    severity: Severity
    title: str
    organization_id: str | None = Field(description="Null: it concerns the operator and no organization")
    subject: str = Field(description="What it is about: the source address; of IPv6 the /64 network")
    first_seen: datetime
    last_seen: datetime
    count: int
    attempt_ids: list[str]


class AlertPage(BaseModel):
    """A page of alerts, newest first. ``next_cursor`` null: there are no more."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"data": [EXAMPLE_ALERT], "next_cursor": None}]})

    data: list[AlertResource]
    next_cursor: str | None


def resource(alert: Alert) -> AlertResource:
    """Return the alert as the API shows it."""
    return AlertResource(
        id=alert.id,
        rule=alert.rule,
        severity=alert.severity,
        title=alert.title,
        organization_id=alert.organization_id,
        subject=alert.subject,
        first_seen=moment(alert.first_seen),
        last_seen=moment(alert.last_seen),
        count=alert.count,
        attempt_ids=list(alert.attempt_ids),
    )
