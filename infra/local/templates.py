"""The project's configuration templates: `%{name}`, because nginx and Kafka both own the dollar sign."""

from pathlib import Path
from string import Template

INFRA = Path(__file__).resolve().parents[1]
PROJECT = INFRA.parent


class _ConfigurationTemplate(Template):
    delimiter = "%"


def render(template: str, **values: object) -> str:
    """Fill in a template of `infra/`, named by its path there.

    Raises:
        KeyError: The template has a placeholder without a value.
    """
    return _ConfigurationTemplate((INFRA / template).read_text(encoding="utf-8")).substitute(values)
