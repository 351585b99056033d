import pytest

from keyledger.contracts.auth_event import neighbourhood


@pytest.mark.parametrize(
    ("source", "counted_under"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unknown", "unknown"),
        ("node:7", "node:7"),
    ],
)
def test_a_source_is_counted_under_what_one_attacker_has(source: str, counted_under: str) -> None:
    assert neighbourhood(source) == counted_under
