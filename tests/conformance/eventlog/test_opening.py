import subprocess
import sys
from pathlib import Path

import pytest

from keyledger.eventlog.embedded import EmbeddedLog
from keyledger.eventlog.kafka import KafkaLog
from keyledger.eventlog.kafka_security import KafkaSecurity
from keyledger.eventlog.opening import open_log


async def test_a_url_names_a_file_or_a_cluster(tmp_path: Path) -> None:
    log = await open_log(f"sqlite:///{tmp_path}/log.db")
    assert isinstance(log, EmbeddedLog)
    await log.close()
    assert (tmp_path / "log.db").exists()
    cluster = await open_log("kafka://one:9092,two:9092")
    assert isinstance(cluster, KafkaLog)
    await cluster.close()


@pytest.mark.parametrize("url", ["", "sqlite:///", "kafka://", "kafka://u:hunter2@one:9092", "amqp://u:hunter2@one"])
async def test_any_other_url_is_refused_without_repeating_it(url: str) -> None:
    with pytest.raises(ValueError, match="a log is") as refusal:
        await open_log(url)
    assert "hunter2" not in str(refusal.value)


def test_the_password_is_never_printed() -> None:
    security = KafkaSecurity(security_protocol="SASL_SSL", sasl_username="relay", sasl_password="hunter2")  # noqa: S106 - no real one
    assert "hunter2" not in f"{security} {security!r}"
    assert "relay" in repr(security)


def test_the_embedded_log_needs_no_kafka_client(tmp_path: Path) -> None:
    program = (
        "import asyncio, sys\n"
        "from keyledger.eventlog.opening import open_log\n"
        "async def main(): await (await open_log(sys.argv[1])).close()\n"
        "asyncio.run(main())\n"
        "assert 'aiokafka' not in sys.modules"
    )
    url = f"sqlite:///{tmp_path}/log.db"
    subprocess.run([sys.executable, "-c", program, url], check=True, timeout=60)
