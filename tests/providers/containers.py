"""Servers from testcontainers, where a Docker daemon answers.

NOT EXERCISED: the machines this was written and checked on have no Docker daemon. Everything Docker needs is imported
here and only when asked for, so its absence costs nothing.
"""

import contextlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass

from infra.local import ServerFailed

POSTGRES_IMAGE = "postgres:15-alpine"
KAFKA_IMAGE = "confluentinc/cp-kafka:7.6.0"


@dataclass(frozen=True, slots=True)
class Container:
    address: str
    container_id: str


def docker_answers() -> bool:
    """Say whether a Docker daemon can be talked to."""
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    # Docker's client leaves a socket open when nobody answers, which fails whichever test runs next.
    if host.startswith("unix://") and not _accepts(host.removeprefix("unix://")):
        return False
    try:
        import docker  # type: ignore[import-untyped]  # noqa: PLC0415
        from docker.errors import DockerException  # type: ignore[import-untyped]  # noqa: PLC0415
    except ImportError:
        return False
    try:
        with contextlib.closing(docker.from_env(timeout=5)) as client:
            return bool(client.ping())
    except DockerException:
        return False


def _accepts(path: str) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(path) == 0


def start_postgres_container() -> Container:
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415

    name = "keyledger"
    with _outliving_this_process():
        container = PostgresContainer(POSTGRES_IMAGE, username=name, password=name, dbname=name, driver=None).start()
    return Container(container.get_connection_url(), container.get_wrapped_container().id)


def start_kafka_container() -> Container:
    from testcontainers.community.kafka import KafkaContainer  # noqa: PLC0415

    with _outliving_this_process():
        container = KafkaContainer(KAFKA_IMAGE).with_kraft().start()
    return Container(container.get_bootstrap_server(), container.get_wrapped_container().id)


def stop_container(container_id: str) -> None:
    import docker  # noqa: PLC0415
    from docker.errors import NotFound  # noqa: PLC0415

    with contextlib.closing(docker.from_env(timeout=60)) as client, contextlib.suppress(NotFound):
        client.containers.get(container_id).remove(force=True, v=True)


@contextlib.contextmanager
def _outliving_this_process() -> Iterator[None]:
    from docker.errors import DockerException  # noqa: PLC0415
    from testcontainers.core.config import testcontainers_config  # noqa: PLC0415

    # Its reaper would end the container with the xdist worker that happened to start it, under the others' feet.
    testcontainers_config.ryuk_disabled = True
    try:
        yield
    except DockerException as error:  # an image that cannot be fetched, most likely
        raise ServerFailed(f"Docker answers, but: {error}") from error
