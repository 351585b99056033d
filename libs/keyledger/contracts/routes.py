"""The route table: who serves what, and which permission it needs.

From it come the gateway's map, 405's ``Allow``, the merged OpenAPI document's order and the permission matrix test.
"""

import re
from functools import cache
from typing import Final, Literal

from msgspec import Struct

Method = Literal["GET", "POST", "PATCH", "DELETE"]
Service = Literal["commands", "directory", "verification", "anomalies"]


class Route(Struct, frozen=True):
    """One method on one path. ``permission`` None: whoever may reach it decides itself, or needs no key."""

    method: Method
    path: str
    service: Service
    permission: str | None


ROUTES: Final = (
    Route("POST", "/v1/api-keys", "commands", "api-keys:create"),
    Route("GET", "/v1/api-keys", "directory", "api-keys:read"),
    Route("GET", "/v1/api-keys/{key_id}", "directory", "api-keys:read"),
    Route("PATCH", "/v1/api-keys/{key_id}", "commands", "api-keys:update"),
    Route("DELETE", "/v1/api-keys/{key_id}", "commands", "api-keys:revoke"),
    Route("POST", "/v1/api-keys/{key_id}/rotate", "commands", "api-keys:rotate"),
    Route("POST", "/v1/api-keys/{key_id}/rotate/finish", "commands", "api-keys:rotate"),
    Route("POST", "/v1/api-keys/{key_id}/disable", "commands", "api-keys:disable"),
    Route("POST", "/v1/api-keys/{key_id}/enable", "commands", "api-keys:enable"),
    Route("GET", "/v1/auth/verify", "verification", None),
    Route("POST", "/v1/roles", "commands", "roles:create"),
    Route("GET", "/v1/roles", "commands", "roles:read"),
    Route("GET", "/v1/roles/{role}", "commands", "roles:read"),
    Route("PATCH", "/v1/roles/{role}", "commands", "roles:update"),
    Route("DELETE", "/v1/roles/{role}", "commands", "roles:delete"),
    Route("POST", "/v1/users", "commands", "users:create"),
    Route("GET", "/v1/users/{user_id}", "commands", "users:read"),
    Route("POST", "/v1/users/{user_id}/deactivate", "commands", "users:deactivate"),
    Route("POST", "/v1/users/{user_id}/reactivate", "commands", "users:reactivate"),
    Route("POST", "/v1/teams", "commands", "teams:create"),
    Route("GET", "/v1/teams/{team_id}", "commands", "teams:read"),
    Route("POST", "/v1/service-accounts", "commands", "service-accounts:create"),
    Route("GET", "/v1/service-accounts/{service_account_id}", "commands", "service-accounts:read"),
    Route("GET", "/v1/alerts", "anomalies", "alerts:read"),
)


def permission_for(method: Method, path: str) -> str:
    """Return the permission that a route needs. Raises KeyError for a route that needs none or is not there."""
    for route in ROUTES:
        if (route.method, route.path) == (method, path) and route.permission is not None:
            return route.permission
    raise KeyError((method, path))


@cache
def path_pattern(path: str) -> re.Pattern[str]:
    """Return the expression that matches a path of the table, each ``{name}`` one segment."""
    return re.compile("/".join("[^/]+" if part.startswith("{") else re.escape(part) for part in path.split("/")))


def find(method: str, path: str) -> tuple[Route | None, tuple[str, ...]]:
    """Return the route and the methods that the path allows; no route and no methods: the path is unknown."""
    here = [route for route in ROUTES if path_pattern(route.path).fullmatch(path)]
    allowed = {route.method for route in here}
    wanted = "GET" if method == "HEAD" else method
    found = next((route for route in here if route.method == wanted), None)
    return found, tuple(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
