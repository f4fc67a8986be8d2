from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from hpcdeploy.registry.retries import RetryPolicy, next_wait, parse_retry_after


def test_waits_double_and_then_end() -> None:
    policy = RetryPolicy(attempts=4, first_wait=0.5)
    assert [next_wait(policy, failures=n, waited=0.0) for n in (1, 2, 3, 4)] == [0.5, 1.0, 2.0, None]


def test_all_waits_together_stay_small() -> None:
    policy, waited = RetryPolicy(), 0.0
    for failures in range(1, policy.attempts + 1):
        waited += next_wait(policy, failures=failures, waited=waited) or 0.0
    assert waited < 10


def test_what_the_server_asks_for_is_obeyed_or_given_up() -> None:
    assert next_wait(RetryPolicy(total=30), failures=1, waited=0.0, retry_after="7") == 7
    assert next_wait(RetryPolicy(total=30), failures=1, waited=25.0, retry_after="7") is None


@pytest.mark.parametrize(
    ("value", "expected"), [("0", 0.0), (" 12 ", 12.0), ("", None), ("soon", None), ("-1", None), ("²", None)]
)
def test_seconds_are_read(value: str, expected: float | None) -> None:
    assert parse_retry_after(value) == expected


def test_dates_are_read() -> None:
    later = parse_retry_after(format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True))
    assert later is not None
    assert 3000 < later <= 3600
    assert parse_retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
