"""Define the retry policy for registries."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from hpcdeploy.frozen import frozen

# Statuses of temporary failures: request timeout, too many requests, and errors of the server or of a proxy. A request with
# another status is not repeated, because its next answer would be the same.
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


@frozen
class RetryPolicy:
    """The timeouts of requests, and the number of attempts and pauses after temporary failures. All times are in seconds.

    Attributes:
        connect: Timeout for connecting to a host.
        read: Timeout for the next bytes of an answer.
        upload: Timeout for sending a block of an upload, and for the answer to the upload.
        attempts: Maximum number of attempts, including the first.
        first_wait: Pause after the first attempt. Each further pause is twice as long as the previous one.
        total: Maximum sum of all pauses.
        sleep: Function that waits for a number of seconds.
        clock: Function that returns a monotonic time in seconds.
    """

    connect: float = 10.0
    read: float = 60.0
    upload: float = 600.0
    attempts: int = 4
    first_wait: float = 0.5
    total: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def next_wait(policy: RetryPolicy, *, failures: int, waited: float, retry_after: str = "") -> float | None:
    """Return the pause in seconds before the next attempt; None if there must be no further attempt.

    The result is None after the last attempt of the policy, or if the pause would exceed the sum that the policy allows.

    Args:
        policy: The retry policy.
        failures: The number of failed attempts so far.
        waited: The sum of all pauses so far in seconds.
        retry_after: The server's ``Retry-After``, in seconds or a date (RFC 9110, section 10.2.3). It replaces the pause of
            the policy, because the server rejects an earlier attempt. Empty if there is none.
    """
    if failures >= policy.attempts:
        return None
    requested = parse_retry_after(retry_after)
    wait = policy.first_wait * 2 ** (failures - 1) if requested is None else requested
    return wait if waited + wait <= policy.total else None


def parse_retry_after(value: str) -> float | None:
    """Return the number of seconds from now to a ``Retry-After``; None if the value is malformed, 0 if it is in the past."""
    text = value.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError):
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
