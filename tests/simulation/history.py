"""What the ledger of every schedule begins with: an organization, its role, and a team that owns keys."""

from collections.abc import Sequence
from typing import Final, cast

from keyledger.contracts.envelope import Entry
from keyledger.contracts.registry import decode, encode
from keyledger.domain import keys
from keyledger.domain.events import Event, KeyEvent, OrganizationCreated, RoleDefined, TeamCreated
from keyledger.domain.identifiers import resource_id, role_stream
from keyledger.eventstore.port import Append

ORGANIZATION: Final = resource_id("org", 1)
TEAM: Final = resource_id("team", 1)


def beginnings() -> list[Append]:
    """Return the appends that come first."""
    role = RoleDefined(
        organization_id=ORGANIZATION, role="viewer", name="Viewer", permissions=("agents:read",), grants=()
    )
    return [
        _append(ORGANIZATION, OrganizationCreated(organization_id=ORGANIZATION, name="an organization")),
        _append(role_stream(ORGANIZATION, "viewer"), role),
        _append(TEAM, TeamCreated(organization_id=ORGANIZATION, team_id=TEAM, name="a team")),
    ]


def key_of(rows: Sequence[Entry]) -> keys.Key:
    """Return the key that the rows of its stream make."""
    return keys.fold([cast("KeyEvent", fact.event) for row in rows if (fact := decode(row)) is not None])


def _append(stream: str, event: Event) -> Append:
    return Append(
        append_id=f"beginning {stream}",
        organization_id=ORGANIZATION,
        stream=stream,
        expected_version=0,
        events=(encode(event),),
        request_id="beginning",
    )
