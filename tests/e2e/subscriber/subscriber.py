"""A subscriber that knows an AsyncAPI document and the models that were generated from it, and nothing of Keyledger.

``python subscriber.py DOCUMENT MODELS SERVER VARIABLE=VALUE ...`` reads every channel of the document from its
beginning to where it ends now, and prints a line of JSON for each record: which message it is and the decoded data, or
what is wrong with it.
"""

import asyncio
import importlib.util
import json
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from jsonschema import Draft202012Validator

DEADLINE_SECONDS = 120


class Drift(Exception):
    """A record that is not what the document says."""


class Message:
    """One message of the document: schemas that judge a record, and the generated model of its data."""

    def __init__(self, name: str, document: dict[str, Any], models: Any) -> None:
        message = _resolved(document, f"#/components/messages/{name}")
        components = {"components": document["components"]}
        self.name = name
        self.headers = Draft202012Validator(
            {**message["headers"], **components}, format_checker=Draft202012Validator.FORMAT_CHECKER
        )
        self._payload = Draft202012Validator({**message["payload"], **components})
        self._key = Draft202012Validator(message["bindings"]["kafka"]["key"])
        self._model = getattr(models, f"{name.replace('.v', 'V')}Payload")

    def decode(self, key: bytes | None, value: bytes | None) -> Any:
        """Return the data as the generated model has it."""
        try:
            data = json.loads(value or b"")
            text = None if key is None else key.decode()
        except ValueError as error:
            raise Drift(f"{self.name}: {error}") from error
        errors = [*self._payload.iter_errors(data), *self._key.iter_errors(text)]
        if errors:
            raise Drift("; ".join(f"{self.name}: {error.json_path}: {error.message}" for error in errors))
        return self._model.model_validate(data).model_dump(mode="json")


def _resolved(document: Any, reference: str) -> Any:
    found = document
    for part in reference.removeprefix("#/").split("/"):
        found = found[part]
    return _resolved(document, found["$ref"]) if "$ref" in found else found


def messages(document: Any, models: Any, channel: Any) -> list[Message]:
    """Return the messages that a channel carries."""
    references = (message["$ref"] for message in channel["messages"].values())
    return [Message(reference.rpartition("/")[2], document, models) for reference in references]


def bootstrap(document: Any, server: str, given: dict[str, str]) -> str:
    """Return the server's address, its variables filled in."""
    one = _resolved(document, f"#/servers/{server}")
    defaults = {
        name: _resolved(document, variable["$ref"])["default"] for name, variable in one.get("variables", {}).items()
    }
    return str(one["host"]).format_map(defaults | given)


async def records(address: str, channel: Any) -> AsyncIterator[Any]:
    """Yield what the channel's topic holds now, each partition in its order."""
    numbers = range(channel["bindings"]["kafka"]["partitions"])
    partitions = [TopicPartition(channel["address"], number) for number in numbers]
    consumer = AIOKafkaConsumer(bootstrap_servers=address, enable_auto_commit=False, auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        while any([await consumer.position(partition) < ends[partition] for partition in partitions]):
            for batch in (await consumer.getmany(timeout_ms=500)).values():
                for record in batch:
                    yield record
    finally:
        await consumer.stop()


async def lines(document: Any, models: Any, address: str) -> AsyncIterator[dict[str, Any]]:
    """Yield what there is to say about each record of each channel."""
    for name, channel in document["channels"].items():
        known = messages(document, models, channel)
        async for record in records(address, channel):
            headers = {header: value.decode() for header, value in record.headers}
            line = {"channel": name, "partition": record.partition, "offset": record.offset, "headers": headers}
            try:
                message = _of(headers, known)
                yield line | {"message": message.name, "data": message.decode(record.key, record.value)}
            except Drift as drift:
                yield line | {"drift": str(drift)}


def _of(headers: dict[str, str], known: list[Message]) -> Message:
    fitting = [message for message in known if message.headers.is_valid(headers)]
    if len(fitting) != 1:
        raise Drift(f"{len(fitting)} messages of the channel have such headers")
    return fitting[0]


def _models(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("models", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["models"] = module
    spec.loader.exec_module(module)
    return module


def _foreign() -> Iterator[str]:
    return (name for name in sys.modules if name.partition(".")[0].startswith("keyledger"))


async def main(document: Any, models: Any, address: str) -> None:
    """Print the lines, and last which modules of Keyledger were imported: none."""
    async with asyncio.timeout(DEADLINE_SECONDS):
        async for line in lines(document, models, address):
            sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.write(json.dumps({"keyledger_modules": sorted(_foreign())}) + "\n")


if __name__ == "__main__":
    document_path, models_path, server_name, *assignments = sys.argv[1:]
    described = yaml.safe_load(Path(document_path).read_text(encoding="utf-8"))
    variables = dict(assignment.split("=", 1) for assignment in assignments)
    asyncio.run(main(described, _models(models_path), bootstrap(described, server_name, variables)))
