"""Topics as they must be: made where they are missing, compared where they are there."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import NoError, TopicAlreadyExistsError, UnknownTopicOrPartitionError, for_code

from keyledger.contracts.topics import Topic
from keyledger.eventlog.port import LogUnavailable, TopicMismatch

MAX_REPLICAS: Final = 3
POLL_SECONDS: Final = 0.05

_log = logging.getLogger(__name__)


async def create_missing(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    """Make what is missing, on up to three brokers, and wait until each partition has a leader."""
    there = await _partitions(admin)
    missing = [topic for topic in topics if topic.name not in there]
    if not missing:
        return
    copies = min(MAX_REPLICAS, await _broker_count(admin))
    answer = await admin.create_topics([_new_topic(topic, copies) for topic in missing])
    for name, code, message in answer.topic_errors:
        # Another process may have been faster.
        if for_code(code) not in (NoError, TopicAlreadyExistsError):
            raise LogUnavailable(f"making topic {name}: {for_code(code).__name__}: {message}")
    await _led_partitions(admin, {topic.name for topic in missing})


async def check(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> None:
    """Compare partitions, retention and clean-up. Raises TopicMismatch; only warns of too few copies."""
    partitions = await _led_partitions(admin, {topic.name for topic in topics})
    copies = min(MAX_REPLICAS, await _broker_count(admin))
    found = await _found_settings(admin, topics)
    for topic in topics:
        count = len(partitions[topic.name])
        if count != topic.partitions:
            raise TopicMismatch(f"{topic.name} has {count} partitions, must have {topic.partitions}")
        if found[topic.name] != _settings(topic):
            raise TopicMismatch(f"{topic.name} has {found[topic.name]}, must have {_settings(topic)}")
        if (kept := min(len(one["replicas"]) for one in partitions[topic.name])) < copies:
            # Made while brokers were away, or before they were added. It works, and only an operator can mend it.
            _log.warning("%s has %d copies, the cluster could keep %d: reassign its replicas", topic.name, kept, copies)


def _settings(topic: Topic) -> dict[str, str]:
    return {"cleanup.policy": "delete", "retention.ms": str(topic.retention_ms)}


def _new_topic(topic: Topic, replicas: int) -> NewTopic:
    # Else "all in-sync replicas" may be the leader alone, and an acknowledged record dies with it.
    in_sync = {"min.insync.replicas": str(max(1, replicas - 1))}
    return NewTopic(topic.name, topic.partitions, replicas, topic_configs=_settings(topic) | in_sync)


async def _broker_count(admin: AIOKafkaAdminClient) -> int:
    """Return how many brokers answer now."""
    return len((await admin.describe_cluster())["brokers"])


async def _partitions(admin: AIOKafkaAdminClient) -> dict[str, list[dict[str, Any]]]:
    # All topics, not ours by name: a broker may create what it is asked about.
    return {found["topic"]: found["partitions"] for found in await admin.describe_topics()}


async def _led_partitions(admin: AIOKafkaAdminClient, names: set[str]) -> dict[str, list[dict[str, Any]]]:
    """Return the partitions once each of these topics' has a leader: the broker that is asked may hear of them late."""
    while not _led(partitions := await _partitions(admin), names):  # noqa: ASYNC110 - a broker tells nobody
        await asyncio.sleep(POLL_SECONDS)
    return partitions


def _led(partitions: dict[str, list[dict[str, Any]]], names: set[str]) -> bool:
    return all(partitions.get(name) and all(one["leader"] >= 0 for one in partitions[name]) for name in names)


async def _found_settings(admin: AIOKafkaAdminClient, topics: Sequence[Topic]) -> dict[str, dict[str, str]]:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, topic.name, _settings(topic)) for topic in topics]
    while True:
        answers = await admin.describe_configs(wanted)
        if not any(for_code(one[0]) is UnknownTopicOrPartitionError for answer in answers for one in answer.resources):
            return {name: settings for answer in answers for name, settings in _described(answer)}
        # The topics are there, but of several brokers the one that was asked may not have heard of them yet.
        await asyncio.sleep(POLL_SECONDS)


def _described(answer: Any) -> Iterator[tuple[str, dict[str, str]]]:
    for code, message, _, name, entries in answer.resources:
        if for_code(code) is not NoError:
            raise LogUnavailable(f"asking for the settings of {name}: {for_code(code).__name__}: {message}")
        yield name, {entry[0]: entry[1] for entry in entries}
