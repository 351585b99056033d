"""A setting that is wrong, or that nothing answers to, is named without its value."""

import secrets
import subprocess
from pathlib import Path

import pytest

from infra.local.ports import free_port
from tests.e2e.profiles import PROGRAM, environment
from tests.security.scanning import Secret, find

NOBODY = "127.0.0.1:1"
"""Nothing listens there."""
SASL = {
    "KEYLEDGER_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
    "KEYLEDGER_KAFKA_USERNAME": "keyledger",
    "KEYLEDGER_KAFKA_BOOTSTRAP": NOBODY,
}
WRONG: dict[str, tuple[str, dict[str, str]]] = {
    "a database of another kind": ("migrate", {"KEYLEDGER_DATABASE_URL": "mysql://u:{secret}@h/d"}),
    "a database that is away": ("migrate", {"KEYLEDGER_DATABASE_URL": f"postgresql://u:{{secret}}@{NOBODY}/d"}),
    "a port that is none": ("migrate", {"KEYLEDGER_DATABASE_URL": "postgresql://u:{secret}@127.0.0.1:port/d"}),
    "an address that is none": ("migrate", {"KEYLEDGER_DATABASE_URL": "postgresql://u:{secret}@[::1/d"}),
    "a slash in a password": ("migrate", {"KEYLEDGER_DATABASE_URL": "postgresql://u:{secret}/more@127.0.0.1:1/d"}),
    "a password in the wrong place": ("migrate", {"KEYLEDGER_DATABASE_URL": "postgresql://u@127.0.0.1:{secret}/d"}),
    "a read model's database of another kind": ("serve", {"KEYLEDGER_ALERTS_DATABASE_URL": "redis://:{secret}@h"}),
    "a read model's database that is none": ("serve", {"KEYLEDGER_DIRECTORY_DATABASE_URL": "{secret}"}),
    "a master that is not hexadecimal": ("bootstrap", {"KEYLEDGER_PEPPER": "{secret}"}),
    "a master that is too short": ("bootstrap", {"KEYLEDGER_PEPPER": "{hexadecimal}"}),
    "a name that is misspelt": ("serve", {"KEYLEDGER_PEPER": "{secret}"}),
    "a broker that is away": ("topics", {**SASL, "KEYLEDGER_KAFKA_PASSWORD": "{secret}"}),
    "a password without its user": (
        "topics",
        {**SASL, "KEYLEDGER_KAFKA_USERNAME": "", "KEYLEDGER_KAFKA_PASSWORD": "{secret}"},
    ),
    "a port that is a secret": ("serve", {"KEYLEDGER_PORT": "{secret}"}),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_start_shows_no_secret(tmp_path: Path, case: str) -> None:
    command, settings = WRONG[case]
    secret, hexadecimal = secrets.token_urlsafe(24), secrets.token_hex(12)
    given = {name: text.format(secret=secret, hexadecimal=hexadecimal) for name, text in settings.items()}
    done = subprocess.run(
        [PROGRAM, command],
        env=environment(tmp_path / "data", free_port(), KEYLEDGER_LOG_LEVEL="debug") | given,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert b"Traceback" not in done.stdout, "what an operator can mend is said in one line"
    assert not find([Secret("it", secret), Secret("it", hexadecimal)], [("its output", done.stdout)]), done.stdout
