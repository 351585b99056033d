"""The log on Apache Kafka. This folder is the only place that imports aiokafka."""

from keyledger.eventlog.kafka.log import KafkaLog

__all__ = ["KafkaLog"]
