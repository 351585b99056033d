"""The public origin's nginx configuration: a pure function of the route table."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from infra.local.ports import LOOPBACK
from infra.local.templates import render
from keyledger.contracts.problems import PROBLEMS

# What the origin itself answers, beside the table.
OWN_PATHS = {"/livez": ("GET", "HEAD"), "/readyz": ("GET", "HEAD"), "/openapi.json": ("GET", "HEAD")}
# What nginx says itself, by the template's placeholder: (code, detail).
REFUSALS = {
    "malformed_request": ("malformed-request", "The request is not well-formed HTTP."),
    "not_found": ("not-found", "Nothing is served at this path."),
    "method_not_allowed": ("method-not-allowed", "The Allow header names the methods of this path."),
    "request_too_large": ("request-too-large", "The body of a request may hold 1 MiB."),
    "not_ready": ("not-ready", "The service behind this path did not answer."),
    "outcome_unknown": ("outcome-unknown", "The service did not answer: ask again with the same Idempotency-Key."),
}
_PARAMETER = re.compile(r"\{[a-z_]+\}")
_METHOD = re.compile(r"[A-Z]+")
_PATH = re.compile(r"(/([A-Za-z0-9._~-]+|\{[a-z_]+\}))+")


class GatewayRoute(Protocol):
    """What the origin needs of a row of the route table (`keyledger.contracts.routes`)."""

    @property
    def method(self) -> str:
        """`GET`, `POST` ..."""

    @property
    def path(self) -> str:
        """With parameters in braces, each one segment: `/v1/api-keys/{key_id}`."""

    @property
    def service(self) -> str:
        """The service's short name: `commands`, `directory` ..."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where an origin runs: on this machine, with files of its own, unless said otherwise."""

    listen: str = LOOPBACK
    host_of: Callable[[str], str] = lambda _: LOOPBACK
    access_log: str = "access.log"
    error_log: str = "error.log"


HERE = Surroundings()


def render_gateway(
    routes: Sequence[GatewayRoute],
    service_ports: Mapping[str, int],
    *,
    port: int,
    openapi: Path,
    surroundings: Surroundings = HERE,
) -> str:
    """Return the configuration that serves `routes` at `port`.

    Args:
        routes: The table. Paths the origin answers itself (`OWN_PATHS`) are skipped.
        service_ports: The port of each service, at its host; `commands` is always needed, for `/readyz`.
        port: The origin's own.
        openapi: The file behind `/openapi.json`.
        surroundings: Hosts and logs.

    Raises:
        ValueError: A route's service has no port, or its method or path is none nginx could be told safely.
    """
    table = [route for route in routes if route.path not in OWN_PATHS]
    for route in table:
        _refuse_unusable(route, service_ports)
    # Fewer parameters first, so that a literal segment beats a parameter.
    table.sort(key=lambda route: len(_PARAMETER.findall(route.path)))
    paths = list(dict.fromkeys(route.path for route in table))
    allows = {path: _methods_at(path, table) for path in paths} | OWN_PATHS
    return render(
        "nginx/nginx.conf.template",
        port=port,
        listen=surroundings.listen,
        access_log=surroundings.access_log,
        error_log=surroundings.error_log,
        openapi=json.dumps(str(openapi)),
        upstreams="\n".join(
            _upstream(name, surroundings.host_of(name), service_ports[name]) for name in sorted(service_ports)
        ),
        services=_entries((_key(route.path, m), route.service) for route in table for m in _methods(route)),
        allows=_entries((_key(path), f'"{", ".join(methods)}"') for path, methods in allows.items()),
        **{name: _problem(*fields) for name, fields in REFUSALS.items()},
    )


def render_constant(*, port: int, workers: int = 1) -> str:
    """Return the configuration of an nginx that answers a constant at `/nginx-constant`, for benchmarks."""
    return render("nginx/constant.conf.template", port=port, workers=workers)


def _refuse_unusable(route: GatewayRoute, service_ports: Mapping[str, int]) -> None:
    if route.service not in service_ports:
        raise ValueError(f"{route.method} {route.path} belongs to {route.service!r}, which has no port")
    # The table is ours, yet what is written into a configuration is checked where it is written.
    if _METHOD.fullmatch(route.method) is None or _PATH.fullmatch(route.path) is None:
        raise ValueError(f"not a route: {route.method} {route.path}")


def _pattern(path: str) -> str:
    literals = (re.escape(part).replace(r"\-", "-").replace(r"\~", "~") for part in _PARAMETER.split(path))
    return "[^/]+".join(literals)


def _methods_at(path: str, table: Sequence[GatewayRoute]) -> tuple[str, ...]:
    """All methods under which a request for `path` finds a route: also those of a pattern that covers it."""
    covering = [route for route in table if re.fullmatch(_pattern(route.path), path)]
    return tuple(sorted({method for route in covering for method in _methods(route)}))


def _methods(route: GatewayRoute) -> tuple[str, ...]:
    # Whoever answers GET answers HEAD (RFC 9110, 9.3.2).
    return ("GET", "HEAD") if route.method == "GET" else (route.method,)


def _key(path: str, method: str = "") -> str:
    words = f"{method} " if method else ""
    return f'"~^{words}{_pattern(path)}$"' if _PARAMETER.search(path) else f'"{words}{path}"'


def _entries(pairs: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"    {key} {value};" for key, value in pairs)


def _upstream(name: str, host: str, port: int) -> str:
    # Connections are dropped before uvicorn drops them (5 s): a request written to one that is just being closed
    # is lost, and a POST is not sent twice.
    return "\n".join(
        (
            f"  upstream {name} {{",
            f"    server {host}:{port};",
            "    keepalive 64;",
            "    keepalive_requests 100000;",
            "    keepalive_timeout 4s;",
            "  }",
        )
    )


def _problem(code: str, detail: str) -> str:
    kind = PROBLEMS[code]
    problem = {"type": f"urn:keyledger:problem:{code}", "title": kind.title, "status": kind.status, "code": code}
    # nginx fills the variable in: 32 hexadecimal digits, as in its access log.
    text = json.dumps({**problem, "detail": detail, "request_id": "$request_id"})
    if "'" in text:
        raise ValueError(f"nginx could not quote the problem {code}")
    return text
