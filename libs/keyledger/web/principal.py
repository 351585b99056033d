"""Who is asking: the key that a management request was sent with, and what it may do."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request
from msgspec import Struct

from keyledger.contracts.verdict import Code
from keyledger.domain.events import OwnerType
from keyledger.domain.permissions import Authority
from keyledger.verification.answers import DETAILS
from keyledger.web.problems import Problem


class Principal(Struct, frozen=True, kw_only=True):
    """An authenticated caller. ``operator``: of the operator's own organization.

    ``rests_on``: the versions of the ledger's streams that this was judged on, for a write to guard; empty where a read
    model judged.
    """

    organization_id: str
    operator: bool
    key_id: str
    owner_type: OwnerType
    owner_id: str
    authority: Authority
    rests_on: Mapping[str, int] = {}

    @property
    def user_id(self) -> str | None:
        """The person behind the key; None for a team's or a service account's key."""
        return self.owner_id if self.owner_type == "user" else None

    def allows(self, permission: str) -> bool:
        """Say whether the caller may do ``resource:action``."""
        return self.authority.allows(permission)


Authenticate = Callable[[Request, str], Awaitable[Principal]]
"""Returns the caller of a request that needs a permission; raises Problem (401, 403, 503) and records the attempt."""


def insufficient(permission: str) -> Problem:
    """Return the refusal that names the missing permission."""
    return Problem("insufficient-permission", f"this needs the permission {permission}")


def refused(code: Code) -> Problem:
    """Return the refusal of a credential, in the words that the verify route uses."""
    retry = {"Retry-After": "1"} if code == "verifier-stale" else {}
    return Problem(code, DETAILS[code], headers=retry)
