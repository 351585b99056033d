"""``python -m infra.containers.gateway``: write the configuration of the compose file's nginx from the route table."""

import sys
from pathlib import Path
from typing import Final

from infra.local.cluster import PUBLIC_PORT
from infra.local.gateway import Surroundings, render_gateway
from infra.local.templates import INFRA
from keyledger.contracts.routes import ROUTES

CONFIGURATION: Final = INFRA / "nginx" / "compose.conf"


def compose_gateway() -> str:
    """Return the configuration: each service is a host of its own name, logs go to where Docker collects them."""
    # Each container has a network of its own, so that all can listen at the same port.
    ports: dict[str, int] = {route.service: PUBLIC_PORT for route in ROUTES}
    surroundings = Surroundings(
        listen="0.0.0.0",  # noqa: S104 - within its container
        host_of=lambda name: name,
        access_log="/dev/stdout",
        error_log="stderr",
    )
    openapi = Path("/etc/nginx/openapi.json")
    return render_gateway(ROUTES, ports, port=PUBLIC_PORT, openapi=openapi, surroundings=surroundings)


if __name__ == "__main__":
    CONFIGURATION.write_text(compose_gateway(), encoding="utf-8")
    sys.stdout.write(f"wrote {CONFIGURATION.relative_to(INFRA.parent)}\n")
