"""Define the retry policy for registries."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from hpcdeploy.frozen import frozen

# Too early, too many requests, or a server error; all other answers would be the same at the next attempt.
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


@frozen
class Patience:
    """A retry policy. All times are in seconds.

    Attributes:
        connect: Timeout for a connection.
        read: Timeout for an answer.
        upload: Timeout for progress of an upload.
        attempts: Maximum number of attempts, including the first.
        first_wait: The first pause between attempts; each further one is twice as long.
        total: Maximum sum of all pauses.
        sleep: Waits for a time.
        clock: Returns a monotonic time.
    """

    connect: float = 10.0
    read: float = 60.0
    upload: float = 600.0
    attempts: int = 4
    first_wait: float = 0.5
    total: float = 30.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def next_wait(patience: Patience, *, failures: int, waited: float, retry_after: str = "") -> float | None:
    """Return the pause after the `failures`-th failure in seconds; None to stop.

    A server's ``Retry-After`` (seconds or a date: RFC 9110, section 10.2.3) is used if it fits into the remaining time. An
    earlier attempt would violate it, and a longer wait would exceed the policy.
    """
    if failures >= patience.attempts:
        return None
    requested = parse_retry_after(retry_after)
    wait = patience.first_wait * 2 ** (failures - 1) if requested is None else requested
    return wait if waited + wait <= patience.total else None


def parse_retry_after(value: str) -> float | None:
    """Parse ``Retry-After`` as seconds from now; None if it is malformed."""
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
