"""How to reach brokers that want encryption or a password."""

import ssl
from typing import Any, Literal

from msgspec import Struct

SecurityProtocol = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class KafkaSecurity(Struct, frozen=True, kw_only=True):
    """The words of Kafka's own clients. ``ssl_cafile`` None: the machine's authorities. Never prints the password."""

    security_protocol: SecurityProtocol = "PLAINTEXT"
    sasl_mechanism: SaslMechanism = "PLAIN"
    sasl_username: str | None = None
    sasl_password: str | None = None
    ssl_cafile: str | None = None

    def __repr__(self) -> str:
        hidden = None if self.sasl_password is None else "hidden"
        return (
            f"KafkaSecurity(security_protocol={self.security_protocol!r}, sasl_mechanism={self.sasl_mechanism!r}, "
            f"sasl_username={self.sasl_username!r}, sasl_password={hidden}, ssl_cafile={self.ssl_cafile!r})"
        )

    def options(self) -> dict[str, Any]:
        """Return this as aiokafka's keyword arguments. Raises OSError where ``ssl_cafile`` cannot be read."""
        encrypted = self.security_protocol in ("SSL", "SASL_SSL")
        return {
            "security_protocol": self.security_protocol,
            "ssl_context": ssl.create_default_context(cafile=self.ssl_cafile) if encrypted else None,
            "sasl_mechanism": self.sasl_mechanism,
            "sasl_plain_username": self.sasl_username,
            "sasl_plain_password": self.sasl_password,
        }


PLAINTEXT = KafkaSecurity()
