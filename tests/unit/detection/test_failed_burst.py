from hypothesis import given
from hypothesis import strategies as st

from keyledger.contracts.alert import Alert
from keyledger.contracts.auth_event import AuthAttempt
from keyledger.contracts.verdict import Code
from keyledger.detection.failed_burst import FAILURES, INITIAL, WINDOW_MICROSECONDS, Bursting, observe, scope_of
from tests.unit.detection.attempts import MINUTE, START, attempt


def alerts_of(attempts: list[AuthAttempt]) -> list[Alert]:
    burst, said = INITIAL, list[Alert]()
    for each in attempts:
        burst, alerts = observe(burst, each)
        said.extend(alerts)
    return said


def test_the_fifth_failure_within_ten_minutes_gives_one_alert_with_its_evidence() -> None:
    (alert,) = alerts_of([attempt(n, n * MINUTE) for n in range(5)])
    assert alert.rule == "failed-burst"
    assert alert.count == 5
    assert alert.subject == "192.0.2.1"
    assert alert.organization_id == "org_a"
    assert alert.attempt_ids == tuple(f"attempt-{n}" for n in range(5))
    assert (alert.first_seen, alert.last_seen) == (START, START + 4 * MINUTE)


def test_the_alert_id_is_fixed_for_ever() -> None:
    """A changed id would store and notify every alert of the log once more when it is read again."""
    (alert,) = alerts_of([attempt(n, n) for n in range(5)])
    assert alert.id == "alert_21dox3bQ76BQGYtA2rQDPb"


def test_an_attacker_cannot_spread_a_burst_over_the_addresses_of_one_ipv6_network() -> None:
    """A single customer's line has a /64: 2^64 addresses, and each attempt would come from another one."""
    scopes = {scope_of(attempt(n, n, source=f"2001:db8:1:2::{n + 1:x}")) for n in range(5)}
    assert len(scopes) == 1
    (alert,) = alerts_of([attempt(n, n, source=f"2001:db8:1:2::{n + 1:x}") for n in range(5)])
    assert alert.subject == "2001:db8:1:2::/64"
    assert alert.title == "5 failed attempts from 2001:db8:1:2::/64 within 10 minutes"


def test_ipv6_networks_are_counted_apart() -> None:
    assert len({scope_of(attempt(n, n, source=f"2001:db8:1:{n + 1:x}::1")) for n in range(5)}) == 5


def test_four_failures_are_no_burst() -> None:
    assert alerts_of([attempt(n, n) for n in range(4)]) == []


def test_a_failure_exactly_a_window_old_has_left_the_window() -> None:
    quick = [attempt(n, n) for n in range(4)]
    assert alerts_of([*quick, attempt(4, WINDOW_MICROSECONDS)]) == []
    assert len(alerts_of([*quick, attempt(4, WINDOW_MICROSECONDS - 1)])) == 1


def test_good_and_missing_credentials_are_not_failures() -> None:
    harmless: tuple[Code, ...] = ("valid", "missing-credential", "insufficient-permission", "verifier-stale")
    assert alerts_of([attempt(n, n, code=code) for n, code in enumerate(harmless * 5)]) == []


def test_a_burst_that_goes_on_for_hours_is_one_alert() -> None:
    assert len(alerts_of([attempt(n, n * 9 * MINUTE // 4) for n in range(200)])) == 1


def test_a_new_burst_after_an_empty_window_is_a_new_alert() -> None:
    first = [attempt(n, n) for n in range(7)]
    second = [attempt(10 + n, 6 + WINDOW_MICROSECONDS + n) for n in range(5)]
    one, two = alerts_of(first + second)
    assert one.id != two.id
    assert two.attempt_ids == tuple(f"attempt-{10 + n}" for n in range(5))


def test_failures_that_arrive_out_of_order_count_by_their_own_time() -> None:
    times = [4, 0, 3, 1, 2]
    (alert,) = alerts_of([attempt(at, at * MINUTE) for at in times])
    assert alert.attempt_ids == tuple(f"attempt-{n}" for n in range(5))


def test_a_failure_a_whole_window_older_than_the_newest_is_too_late_to_count() -> None:
    newest = [attempt(n, 20 * MINUTE + n) for n in range(4)]
    assert alerts_of([*newest, attempt(9, 10 * MINUTE)]) == []


def test_a_late_failure_does_not_end_a_burst() -> None:
    burst = [attempt(n, 20 * MINUTE) for n in range(5)]
    assert len(alerts_of([*burst, attempt(5, 0), attempt(6, 21 * MINUTE)])) == 1


def test_ids_differ_between_the_operator_and_every_tenant() -> None:
    scopes = (None, "", "org_a", "org_b")
    ids = {alerts_of([attempt(n, n, organization_id=scope) for n in range(5)])[0].id for scope in scopes}
    assert len(ids) == len(scopes)


@given(st.lists(st.integers(0, 40 * MINUTE), max_size=60))
def test_the_memory_of_a_scope_stays_bounded(times: list[int]) -> None:
    burst = INITIAL
    for number, at in enumerate(times):
        burst, _ = observe(burst, attempt(number, at))
        assert isinstance(burst, Bursting) or len(burst.failures) < FAILURES


@given(
    st.lists(st.tuples(st.integers(0, 25), st.sampled_from(["invalid-credential", "revoked", "valid"])), max_size=80)
)
def test_the_rule_equals_a_naive_model_that_forgets_nothing(steps: list[tuple[int, Code]]) -> None:
    attempts, at = list[AuthAttempt](), 0
    for number, (minutes, code) in enumerate(steps):
        at += minutes * MINUTE // 2
        attempts.append(attempt(100 + number, at, code=code))  # at one time they are ordered by their ids
    assert [alert.attempt_ids[-1] for alert in alerts_of(attempts)] == naive(attempts)


@given(st.lists(st.integers(0, 40 * MINUTE), max_size=60))
def test_late_and_early_failures_equal_the_naive_model_too(times: list[int]) -> None:
    attempts = [attempt(number, at) for number, at in enumerate(times)]
    tripping = [alert.id for alert in alerts_of(attempts)]
    assert len(tripping) == len(set(tripping)) == len(naive(attempts))


def naive(attempts: list[AuthAttempt]) -> list[str]:
    """Say which attempts trip the rule, looking at all failures ever seen each time."""
    seen, tripped, bursting = list[AuthAttempt](), list[str](), False
    for each in attempts:
        if each.code == "valid":
            continue
        newest_before = max((other.at for other in seen), default=None)
        if newest_before is not None and each.at >= newest_before + WINDOW_MICROSECONDS:
            bursting, seen = False, []
        seen.append(each)
        newest = max(other.at for other in seen)
        if not bursting and sum(other.at > newest - WINDOW_MICROSECONDS for other in seen) >= FAILURES:
            bursting = True
            tripped.append(each.id)
    return tripped
