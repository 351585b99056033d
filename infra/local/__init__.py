"""A real Kafka, Postgres and nginx on this machine, without Docker, owned by the process ids this package started."""

from infra.local.gateway import GatewayRoute, render_gateway
from infra.local.kafka import KafkaCluster, KafkaServer, start_kafka, start_kafka_cluster
from infra.local.nginx import NginxServer, start_nginx
from infra.local.postgres import PostgresServer, start_postgres
from infra.local.processes import Process, ServerFailed

__all__ = [
    "GatewayRoute",
    "KafkaCluster",
    "KafkaServer",
    "NginxServer",
    "PostgresServer",
    "Process",
    "ServerFailed",
    "render_gateway",
    "start_kafka",
    "start_kafka_cluster",
    "start_nginx",
    "start_postgres",
]
