"""Settings: environment variables ``KEYLEDGER_*``; each secret also as ``KEYLEDGER_*_FILE``."""

import os
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator, model_validator

from keyledger.domain.events import Environment
from keyledger.eventlog.kafka_security import KafkaSecurity, SaslMechanism, SecurityProtocol

PREFIX = "KEYLEDGER_"
FOR_TESTS = "KEYLEDGER_TEST_"
SECRETS = ("DATABASE_URL", "DIRECTORY_DATABASE_URL", "ALERTS_DATABASE_URL", "PEPPER", "KAFKA_PASSWORD")


class InvalidSettings(Exception):
    """One line that says which setting is wrong and how."""


class Settings(BaseModel):
    """Everything that an operator may set. Defaults make the embedded profile."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    host: str = Field(default="127.0.0.1", min_length=1)
    port: int = Field(default=8700, ge=1, le=65535)
    data_dir: Path = Path(".keyledger")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["console", "json"] = "console"

    database_url: SecretStr | None = None
    """The ledger: ``postgresql://...``; without it ``ledger.db`` in the data folder."""
    directory_database_url: SecretStr | None = None
    """The directory's read model; without it the ledger's server (schema ``directory``) or ``directory.db``."""
    alerts_database_url: SecretStr | None = None
    """The alerts' read model; without it the ledger's server (schema ``anomalies``) or ``alerts.db``."""

    kafka_bootstrap: str | None = None
    """``host:port,host:port``; without it ``log.db`` in the data folder."""
    kafka_security_protocol: SecurityProtocol = "PLAINTEXT"
    kafka_sasl_mechanism: SaslMechanism = "PLAIN"
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    kafka_ca_file: Path | None = None

    pepper: SecretStr | None = None
    """Masters, hexadecimal, 32 bytes each, the newest first, separated by commas; without it ``pepper`` in the data
    folder, made at the first start."""

    node: str = Field(default="local", pattern=r"^[A-Za-z0-9-]{1,64}$")
    """The name of this verifier node, unique in the fleet."""
    verifier_organizations: tuple[str, ...] = ()
    verifier_environments: tuple[Environment, ...] = ("dev", "staging", "prod")
    on_stale: Literal["refuse", "allow"] = "refuse"
    max_staleness_seconds: float = Field(default=10, gt=0, le=86_400)
    clock_skew_seconds: float = Field(default=1, ge=0, le=86_400)
    index_size_mb: int = Field(default=1024, ge=16, le=1 << 24)
    """The largest size of the verification index; the file grows only as it fills."""

    trusted_proxies: tuple[IPv4Network | IPv6Network, ...] = ()
    """Networks whose ``X-Forwarded-For`` is believed; nobody's by default."""
    shutdown_seconds: float = Field(default=20, gt=0, le=3_600)
    failpoint: str = ""
    """For tests: where this process dies or stands still (``keyledger.contracts.failpoints``)."""

    @property
    def ledger_url(self) -> str:
        """``postgresql://...`` or ``sqlite:///path``."""
        return self._url(self.database_url, "ledger.db")

    @property
    def directory_url(self) -> str:
        """The directory's read model: its own database, the ledger's server, or a file."""
        return self._url(self.directory_database_url or self.database_url, "directory.db")

    @property
    def alerts_url(self) -> str:
        """The alerts' read model: its own database, the ledger's server, or a file."""
        return self._url(self.alerts_database_url or self.database_url, "alerts.db")

    @property
    def log_url(self) -> str:
        """``kafka://host:port,host:port`` or ``sqlite:///path``."""
        return f"kafka://{self.kafka_bootstrap}" if self.kafka_bootstrap else f"sqlite:///{self.data_dir / 'log.db'}"

    @property
    def kafka_security(self) -> KafkaSecurity:
        """How Kafka is reached."""
        return KafkaSecurity(
            security_protocol=self.kafka_security_protocol,
            sasl_mechanism=self.kafka_sasl_mechanism,
            sasl_username=self.kafka_username,
            sasl_password=None if self.kafka_password is None else self.kafka_password.get_secret_value(),
            ssl_cafile=None if self.kafka_ca_file is None else str(self.kafka_ca_file),
        )

    def _url(self, configured: SecretStr | None, file_name: str) -> str:
        return configured.get_secret_value() if configured else f"sqlite:///{self.data_dir / file_name}"

    @field_validator("data_dir", mode="before")
    @classmethod
    def _named_folder(cls, value: object) -> object:
        if value == "":
            raise ValueError("name a folder, or leave it unset for .keyledger")
        return value

    @field_validator("kafka_ca_file")
    @classmethod
    def _readable_file(cls, path: Path | None) -> Path | None:
        if path is not None and not path.is_file():
            raise ValueError("there is no such file")
        return path

    @model_validator(mode="after")
    def _complete_credentials(self) -> Self:
        if self.kafka_security_protocol.startswith("SASL") and (
            self.kafka_username is None or self.kafka_password is None
        ):
            raise ValueError(
                f"{self.kafka_security_protocol} needs KEYLEDGER_KAFKA_USERNAME and KEYLEDGER_KAFKA_PASSWORD"
            )
        return self

    @field_validator("database_url", "directory_database_url", "alerts_database_url")
    @classmethod
    def _known_database(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("postgresql://", "sqlite:///")):
            raise ValueError("a database is postgresql://user:password@host/name or sqlite:///path")
        if url is not None and not _has_place(url.get_secret_value()):
            # Found here, since whoever looks up host and port later repeats what it could not read.
            raise ValueError("host or port cannot be read; in a password write / : @ [ ] # ? % as %2F %3A %40 ...")
        return url

    @field_validator("verifier_organizations", "verifier_environments", "trusted_proxies", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def read_settings(environ: Mapping[str, str] = os.environ) -> Settings:
    """Return the settings of this process.

    Raises:
        InvalidSettings: one line, naming the variable and what is wrong, never a value that may be secret.
    """
    ours = {name: text for name, text in environ.items() if name.startswith(PREFIX) and not name.startswith(FOR_TESTS)}
    unknown = sorted(name for name in ours if not _is_known(name))
    if unknown:
        raise InvalidSettings(f"{unknown[0]}: there is no such setting")
    values = {name.removeprefix(PREFIX).lower(): text for name, text in ours.items()}
    for secret in SECRETS:
        path = values.pop(f"{secret.lower()}_file", None)
        if path is not None and secret.lower() in values:
            raise InvalidSettings(f"{PREFIX}{secret} and {PREFIX}{secret}_FILE are both set: keep one of them")
        if path is not None:
            values[secret.lower()] = _read_secret(f"{PREFIX}{secret}_FILE", path)
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        # What concerns several settings has no place of its own.
        name = PREFIX + str(first["loc"][0] if first["loc"] else "KAFKA_SECURITY_PROTOCOL").upper()
        raise InvalidSettings(f"{name}: {first['msg'].removeprefix('Value error, ')}") from None


def _has_place(url: str) -> bool:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - read to see whether it can be
    except ValueError:
        return False
    # Another @ is in the password, or a # / ? before it is: asyncpg looks for host, port or words behind those.
    return url.startswith("sqlite:") or url.count("@") == parts.netloc.count("@") <= 1


def _is_known(name: str) -> bool:
    field = name.removeprefix(PREFIX)
    return field.lower() in Settings.model_fields or (
        field.endswith("_FILE") and field.removesuffix("_FILE") in SECRETS
    )


def _read_secret(variable: str, path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise InvalidSettings(f"{variable}: {error.strerror or error}") from None
