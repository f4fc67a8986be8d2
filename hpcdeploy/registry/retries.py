"""When to ask a registry again, and when to stop."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

# Too early, too many, or the server's own trouble; every other answer will be the same the next time.
PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to wait, in seconds: for a connection, for an answer, for an upload to move, and for trouble to pass.

    ``attempts`` counts the first; ``total`` bounds the sum of the waits between attempts.
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
    """Say how long to wait after the `failures`-th failure, or None to give up.

    A server's ``Retry-After`` (seconds or a date: RFC 9110, section 10.2.3) is obeyed if it fits into what is left; asking
    sooner than it says would be rude, and longer than our patience is a failure.
    """
    if failures >= patience.attempts:
        return None
    asked = parse_retry_after(retry_after)
    wait = patience.first_wait * 2 ** (failures - 1) if asked is None else asked
    return wait if waited + wait <= patience.total else None


def parse_retry_after(value: str) -> float | None:
    """Read ``Retry-After`` as seconds from now; None where it says nothing understandable."""
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
