"""A setting is taken as it was meant, or refused in one line that names it."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from keyledger.runtime.settings import InvalidSettings, read_settings


def test_without_settings_it_is_the_embedded_profile() -> None:
    settings = read_settings({"PATH": "/bin", "KEYLEDGER_TEST_ANYTHING": "is for tests"})
    assert settings.ledger_url == "sqlite:///.keyledger/ledger.db"
    assert settings.log_url == "sqlite:///.keyledger/log.db"


def test_the_read_models_live_where_the_ledger_does_unless_told_otherwise() -> None:
    ledger, own = "postgresql://u:p@db/ledger", "postgresql://u:p@db/own"
    settings = read_settings({"KEYLEDGER_DATABASE_URL": ledger, "KEYLEDGER_ALERTS_DATABASE_URL": own})
    assert (settings.directory_url, settings.alerts_url) == (ledger, own)


def test_a_secret_may_stand_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://u:p@db/ledger\n", encoding="utf-8")
    settings = read_settings({"KEYLEDGER_DATABASE_URL_FILE": str(tmp_path / "url")})
    assert settings.ledger_url == "postgresql://u:p@db/ledger"


def test_no_secret_is_shown_by_what_holds_it() -> None:
    environment = {
        "KEYLEDGER_DATABASE_URL": "postgresql://u:hunter2@db/ledger",
        "KEYLEDGER_KAFKA_BOOTSTRAP": "broker:9093",
        "KEYLEDGER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KEYLEDGER_KAFKA_USERNAME": "keyledger",
        "KEYLEDGER_KAFKA_PASSWORD": "hunter2",
        "KEYLEDGER_PEPPER": "hunter2" * 10,
    }
    settings = read_settings(environment)
    assert "hunter2" not in repr(settings) + repr(settings.kafka_security)
    assert settings.kafka_security.sasl_password == "hunter2"  # noqa: S105 - of nobody


def test_lists_are_separated_by_commas() -> None:
    settings = read_settings({"KEYLEDGER_TRUSTED_PROXIES": "127.0.0.1/32, ::1/128"})
    assert settings.trusted_proxies == (ip_network("127.0.0.1/32"), ip_network("::1/128"))


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"KEYLEDGER_PROT": "1"}, "KEYLEDGER_PROT"),
        ({"KEYLEDGER_PORT": "0"}, "KEYLEDGER_PORT"),
        ({"KEYLEDGER_HOST": ""}, "KEYLEDGER_HOST"),
        ({"KEYLEDGER_DATA_DIR": ""}, "KEYLEDGER_DATA_DIR"),
        ({"KEYLEDGER_MAX_STALENESS_SECONDS": "inf"}, "KEYLEDGER_MAX_STALENESS_SECONDS"),
        ({"KEYLEDGER_INDEX_SIZE_MB": "99999999999"}, "KEYLEDGER_INDEX_SIZE_MB"),
        ({"KEYLEDGER_DATABASE_URL": "mysql://u:hunter2@db/x"}, "KEYLEDGER_DATABASE_URL"),
        *(
            ({"KEYLEDGER_DATABASE_URL": f"postgresql://u:{password}@db/x"}, "KEYLEDGER_DATABASE_URL")
            for password in ("hunter2#1", "1#hunter2", "1?hunter2", "1/hunter2", "1@hunter2", "1@2:hunter2")
        ),
        ({"KEYLEDGER_TRUSTED_PROXIES": "everybody"}, "KEYLEDGER_TRUSTED_PROXIES"),
        ({"KEYLEDGER_KAFKA_CA_FILE": "/nowhere/ca.pem"}, "KEYLEDGER_KAFKA_CA_FILE"),
        ({"KEYLEDGER_KAFKA_SECURITY_PROTOCOL": "SASL_SSL"}, "KEYLEDGER_KAFKA_USERNAME"),
        ({"KEYLEDGER_PEPPER_FILE": "/nowhere/pepper"}, "KEYLEDGER_PEPPER_FILE"),
        ({"KEYLEDGER_PEPPER": "hunter2", "KEYLEDGER_PEPPER_FILE": "/nowhere"}, "KEYLEDGER_PEPPER_FILE"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_wrong_one_is_named_in_one_line_without_its_value(environment: dict[str, str], named: str) -> None:
    with pytest.raises(InvalidSettings) as refused:
        read_settings(environment)
    said = str(refused.value)
    assert named in said
    assert "\n" not in said
    assert "hunter2" not in said
